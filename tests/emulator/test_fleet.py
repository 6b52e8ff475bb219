"""Several environments behind one port: Lambda's limits, and processes that are lost."""

from __future__ import annotations

import pytest

from tests.emulator.fleet import Fleet
from tests.endurance.faults import EVENT, FAULTS, INVOKE, PHOTO, alive, call, calling, right
from tests.endurance.load import Load, faults, run


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.quick], ids=lambda fault: fault.name
)
def test_callers_see_what_aws_documents_and_it_is_over_when_it_is_over(fault):
    seen = fault.run()
    assert seen.callers
    assert seen.held


def test_load_and_errors_cost_no_environment_and_in_the_end_none_is_left():
    with Fleet(2) as fleet:
        before = [environment.functions() for environment in fleet.environments]
        with calling((fleet.url + "/predict", PHOTO), (fleet.url + INVOKE, EVENT)) as answers:
            pass
        for answer in answers:
            right(answer)
        failed = call(fleet.url + INVOKE, {"image": "AAAA"})
        assert (failed.status, failed.failed) == (200, "Unhandled")
        assert failed.code == "UnsupportedFormat"
        assert call(fleet.url + "/predict", {"image": "AAAA"}).status == 415
        loads = (Load(5, clients=1), Load(30, clients=6), Load(10, rate=20))
        one, six, _ = results = [run(fleet.url + INVOKE, EVENT, load) for load in loads]
        after = [environment.functions() for environment in fleet.environments]
        started = [*before[0], *before[1], *(each.emulator_pid for each in fleet.environments)]
    assert faults(results) == []
    assert set(one.statuses) == {200}
    assert set(six.statuses) <= {200, 429}
    assert six.row()[:3] == ["", "6 clients", "30"]
    assert before == after
    assert len(started) == 4
    assert not any(map(alive, started))
