def test_smoke(client, world):
    assert client.consent().status_code == 201
    answer = client.lookup()
    assert answer.status_code == 200, answer.text
    assert answer.json["reason"] == "consented"
    world.refuse()
    assert client.lookup().json["reason"] == "refused"
