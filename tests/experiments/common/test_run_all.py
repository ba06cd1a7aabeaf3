from experiments.common.run_all import seconds_left


def test_time_left_goes_by_the_last_run_of_each_name():
    assert seconds_left({}, ["a"]) is None
    assert seconds_left({"a": 2.0, "b": 4.0}, ["a", "b", "new", "a"]) == 2 + 4 + 3 + 2
