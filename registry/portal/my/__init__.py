"""The pages of one number, for its subscriber and for whoever looks after it.

The blueprint is registered twice: at `/my` for the own number, and beneath a family link for that
member's. Views know only `visitor()`; links (`url_for(".name")`) stay with the number.
"""
