from ulna.report.peers import COLUMNS, NOTE, read_peers


def test_peers_are_whole_and_say_where_they_were_judged():
    peers = read_peers()
    assert tuple(peers.columns) == COLUMNS
    assert peers.notna().all(axis=None)
    assert set(peers["level"]) == {"study", "image"}
    assert len(peers) == 6
    assert "official valid" in NOTE
