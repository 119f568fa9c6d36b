"""The queue of the studio: results appear whole, jobs end in time, users take turns."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT
from studio_stand_in import EATS, FAILS, HANGS
from studios import studio, user_of, wait

from model.studio.job import CANCELLED, DONE, FAILED, RUNNING, WAITING, Job, Rates
from model.studio.runs import Choice
from model.studio.users import Refused
from model.studio.views import jobs_html, result_html


def begun(job: Job) -> None:
    """Wait until a job's command runs."""
    deadline = time.monotonic() + 120
    while not (job.state == RUNNING and job.process):
        assert time.monotonic() < deadline, job.state
        time.sleep(0.02)


def half_of(made, user, job: Job) -> Path:
    return user.jobs / job.id / "part" / "half.wav"


def until(path: Path) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.long
def test_a_result_appears_whole_with_the_command_that_makes_it_again(opened, dance):
    made = opened()
    user = user_of(made)
    upload = made.upload(user, dance, "My dance.mp4")
    job = made.make(user, upload.id, Choice("notes", 7, settings={"temperature": 0.5}))
    wait(job)
    assert (job.state, job.message) == (DONE, "")
    assert job.facts["command"] == (
        "model generate --run notes --seed 7 --set temperature=0.5 --video My_dance.mp4 --out music"
    )
    path, kind = made.file(user, job.id, "wav")
    assert path.read_text(encoding="utf-8").endswith(" 7") and kind == "audio/wav"
    assert not (user.jobs / job.id / "part").exists()
    html = result_html(job, made.facts(user, job))
    assert "UNTRAINED: a stand-in" in html and f"/media/{job.id}/wav?download=1" in html
    # What was run is what is shown, but for the folders.
    ran = job.steps[0].command
    assert ran[ran.index("--run") : ran.index("--features")] == [
        *"--run notes --seed 7 --set temperature=0.5 --video My_dance.mp4".split()
    ]


@pytest.mark.long
def test_the_time_left_is_known_from_the_jobs_before(opened, dance, tmp_path):
    made = opened()
    user = user_of(made)
    upload = made.upload(user, dance, "a.mp4")
    assert "time left is known after the first time" in jobs_html(
        made.queue, [_running(made, user, upload)]
    )
    wait(made.make(user, upload.id, Choice("notes")))
    again = _running(made, user, upload)
    left = made.queue.rates.left_s(again, again.stage_began)
    assert left is not None and left > 0
    assert made.queue.rates.left_s(again, again.stage_began + 1e6) < left
    html = jobs_html(made.queue, [again], again.stage_began)
    assert "1 of 3, looking at the dancer" in html and "s left in all" in html
    assert Rates(made.users.work / "rates.json").known == made.queue.rates.known


def _running(made, user, upload) -> Job:
    job = Job("0" * 16, "make", "a", [], ["features", "music", "pictures"], upload.seconds)
    job.facts["run"] = "notes"
    job.state, job.stage, job.stage_began = RUNNING, "features", 1000.0
    return job


def test_a_job_that_fails_says_why_without_the_servers_folders(opened, dance):
    made = opened()
    user = user_of(made)
    job = made.make(user, made.upload(user, dance, "a.mp4").id, Choice("notes", FAILS))
    wait(job)
    assert (job.state, job.message) == (FAILED, "a.mp4: no dancer")
    assert [path.name for path in (user.jobs / job.id).iterdir() if path.is_dir()] == []
    with pytest.raises(Refused, match="not finished"):
        made.file(user, job.id, "wav")


@pytest.mark.long
def test_jobs_are_cancelled_while_they_run_and_while_they_wait(opened, dance):
    made = opened()
    user = user_of(made)
    upload = made.upload(user, dance, "a.mp4")
    runs, waits = (made.make(user, upload.id, Choice("notes", seed)) for seed in (HANGS, 1))
    until(half_of(made, user, runs))
    assert waits.state == WAITING and made.queue.ahead(waits) == 1
    pid = runs.process[0]
    made.queue.cancel(user, waits.id)
    made.queue.cancel(user, runs.id)
    wait(runs, waits)
    assert [job.state for job in (runs, waits)] == [CANCELLED, CANCELLED]
    assert not Path(f"/proc/{pid}").exists()
    assert not half_of(made, user, runs).exists()
    made.queue.cancel(user, runs.id)  # has ended: nothing happens
    after = made.make(user, upload.id, Choice("notes", 2))
    wait(after)
    assert after.state == DONE


@pytest.mark.long
@pytest.mark.parametrize(
    ("seed", "limits", "message"),
    [
        (HANGS, {"job_s": 1.0}, "took longer than 1 s: stopped"),
        (EATS, {"memory_gb": 0.2}, "needed more than 0.2 GB of memory: stopped"),
    ],
)
def test_a_job_ends_at_its_limit_of_time_and_memory(opened, dance, seed, limits, message):
    made = opened(**limits)
    user = user_of(made)
    job = made.make(user, made.upload(user, dance, "a.mp4").id, Choice("notes", seed))
    wait(job)
    assert job.state == FAILED and job.message.startswith(message)


@pytest.mark.long
def test_ten_uploads_at_once_of_two_users_are_not_mixed_and_users_take_turns(opened, tmp_path):
    made = opened(start=False)
    users = [user_of(made), user_of(made)]
    jobs = []
    for number, user in enumerate(users):
        for seed in range(5):
            source = tmp_path / f"{number}.mp4"
            source.write_bytes(bytes([number]) * 1000)
            upload = _raw_upload(made, user, source)
            jobs.append((user, made.make(user, upload, Choice("notes", seed))))
    made.queue.start()
    wait(*(job for _, job in jobs))
    assert {job.state for _, job in jobs} == {DONE}
    began = sorted(jobs, key=lambda pair: pair[1].ended)
    assert [users.index(user) for user, _ in began] == [0, 1] * 5
    texts: dict[str, set[str]] = {user.name: set() for user in users}
    for user, job in jobs:
        texts[user.name].add(made.file(user, job.id, "wav")[0].read_text(encoding="utf-8"))
    first, second = ({text.split()[0] for text in found} for found in texts.values())
    assert len(first) == len(second) == 1 and first != second
    for user, job in jobs:
        other = users[1 - users.index(user)]
        with pytest.raises(Refused, match="no such job"):
            made.file(other, job.id, "wav")
        with pytest.raises(Refused, match="no such job"):
            made.queue.cancel(other, job.id)
        with pytest.raises(Refused, match="no such file"):
            made.make(other, job.facts["upload"], Choice("notes"))


def _raw_upload(made, user, source: Path) -> str:
    """Take a file without looking into it: the videos of this test are none."""
    from model.studio import uploads

    found = uploads.probed
    uploads.probed = lambda path: {"start_s": 0.0, "stop_s": 4.0}
    try:
        return made.upload(user, source, source.name).id
    finally:
        uploads.probed = found


@pytest.mark.long
def test_more_jobs_than_may_wait_are_refused(opened, dance):
    made = opened(start=False, waiting=3, waiting_each=2)
    first, second = user_of(made), user_of(made)
    mine, other = (made.upload(u, dance, "a.mp4").id for u in (first, second))
    for _ in range(2):
        made.make(first, mine, Choice("notes"))
    with pytest.raises(Refused, match="2 of your jobs wait already"):
        made.make(first, mine, Choice("notes"))
    made.make(second, other, Choice("notes"))
    with pytest.raises(Refused, match="3 jobs wait already"):
        made.make(second, other, Choice("notes"))


@pytest.mark.long
def test_delete_leaves_nothing_of_a_user_and_all_of_another(opened, dance):
    made = opened()
    first, second = user_of(made), user_of(made)
    jobs = [
        made.make(u, made.upload(u, dance, "a.mp4").id, Choice("notes")) for u in (first, second)
    ]
    wait(*jobs)
    made.queue.delete_all(first)
    assert list(first.folder.rglob("*")) == [] and made.queue.of(first) == []
    assert made.file(second, jobs[1].id, "wav")[0].is_file()


SERVER = """
import sys
sys.path[:0] = {paths!r}
from pathlib import Path
from studios import studio, wait
from model.studio.runs import Choice
made = studio(Path({work!r}))
user = made.users.user({token!r})
upload = made.upload(user, Path({dance!r}), "a.mp4")
done = made.make(user, upload.id, Choice("notes", 1))
wait(done)
hangs = made.make(user, upload.id, Choice("notes", {hangs}))
made.make(user, upload.id, Choice("notes", 3))
while not (user.jobs / hangs.id / "part" / "half.wav").exists():
    pass
print(hangs.process[0], flush=True)
input()
"""


@pytest.mark.long
def test_after_kill_9_results_are_there_half_ones_are_not_and_waiting_jobs_go_on(
    tmp_path, dance, opened
):
    token, work = "t" * 40, tmp_path / "work"
    script = SERVER.format(
        paths=[str(ROOT / "tests" / "support"), str(ROOT)], work=str(work), token=token,
        dance=str(dance), hangs=HANGS,
    )  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    orphan = int(server.stdout.readline())
    server.kill()
    server.wait()
    server.stdout.close()
    server.stdin.close()
    assert Path(f"/proc/{orphan}").exists()
    made = opened()
    user = made.users.user(token)
    by_seed = {job.facts["seed"]: job for job in made.queue.of(user, "make")}
    wait(*by_seed.values())
    assert {seed: job.state for seed, job in by_seed.items()} == {1: DONE, HANGS: FAILED, 3: DONE}
    assert "the studio was stopped meanwhile" in by_seed[HANGS].message
    assert made.file(user, by_seed[1].id, "wav")[0].is_file()
    assert not list(work.rglob("half.wav"))
    state = Path(f"/proc/{orphan}/stat")
    assert not state.exists() or state.read_text(encoding="utf-8").split()[2] == "Z"


@pytest.mark.long
def test_a_damaged_record_is_removed_and_the_rest_is_kept(tmp_path, dance, opened):
    made = studio(tmp_path / "work")
    user = made.users.user("t" * 40)
    job = made.make(user, made.upload(user, dance, "a.mp4").id, Choice("notes"))
    wait(job)
    made.queue.close()
    bad = user.jobs / ("b" * 16)
    bad.mkdir()
    (bad / "job.json").write_text(json.dumps({"id": 3}), encoding="utf-8")
    again = opened()
    assert [one.id for one in again.queue.of(user)] == [job.id]
    assert not bad.exists()
