"""What a studio can do, without a page: every request becomes a job of the queue, or is refused."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.studio import uploads
from model.studio.curated import Curated
from model.studio.data_sets import DataSet
from model.studio.job import CANCELLED, DONE, FAILED, PART, Job, Step
from model.studio.queue import Queue
from model.studio.runs import STYLE, Choice, RunFacts, arguments_of
from model.studio.uploads import Upload
from model.studio.users import Refused, User, Users, new_id

GENERATE = (sys.executable, "-m", "model", "generate")
RENDER = (sys.executable, "-m", "model.studio.render")
LOOK, MAKE, SEGMENT, CLIP = "look", "make", "segment", "clip"
TYPES = {
    "preview": "video/mp4",
    "mp4": "video/mp4",
    "wav": "audio/wav",
    "mid": "audio/midi",
    "picture": "image/png",
}
"""The files of a result that can be asked for, and their types."""


@dataclass
class Studio:
    """The parts of one studio. `runs` are by name, the first is the default.

    `generate` and `render` are the commands of its jobs, without their arguments.
    """

    users: Users
    queue: Queue
    runs: dict[str, RunFacts]
    dataset: DataSet | None = None
    curated: Curated | None = None
    generate: Sequence[str] = GENERATE
    render: Sequence[str] = RENDER

    def upload(self, user: User, source: Path, name: str, kind: str = "video") -> Upload:
        """Take a file that a user brings. Raises Refused if it is not what it should be."""
        return uploads.add(self.users, user, source, name, kind)

    def upload_of_test(self, user: User, video_id: object) -> Upload:
        """Take a video of the data set's test split as the user's own."""
        if self.dataset is None:
            raise Refused("this studio shows no data set")
        path = self.dataset.video(video_id)
        return uploads.add(self.users, user, path, path.name)

    def look(self, user: User, upload_id: object) -> Job:
        """Find the dancer in a video, as the first run needs it."""
        upload = uploads.get(user, upload_id)
        run = next(iter(self.runs.values()))
        job = self._job(
            LOOK, f"skeleton of {upload.name}", upload.seconds, ["features", "pictures"], run
        )
        command = [*self.render, "look", "--run", run.argument, "--video", str(upload.path)]
        command += ["--features", str(upload.features), "--out", self._part(user, job)]
        job.steps.append(Step("features", command, str(upload.folder)))
        job.facts |= {"upload": upload.id, "features_known": upload.features.is_dir()}
        return self.queue.submit(user, job)

    def make(self, user: User, upload_id: object, choice: Choice, style_id: object = None) -> Job:
        """Generate music for a video. Raises Refused for a choice that the run does not take."""
        run = self.runs.get(choice.run)
        if run is None:
            raise Refused(f"no run {choice.run!r:.60}; there are: {', '.join(self.runs)}")
        upload = uploads.get(user, upload_id)
        if upload.kind != "video":
            raise Refused(f"{upload.name} is not a video")
        arguments = arguments_of(run, choice)
        shown = [run.given or one if one == run.argument else one for one in arguments]
        if style_id:
            if STYLE not in run.options:
                raise Refused(f"the run {run.name} (family {run.family}) takes no style song")
            style = uploads.get(user, style_id)
            arguments += ["--style", str(style.path)]
            shown += ["--style", style.name]
        stages = ["features", "music", "pictures"]
        title = f"{run.name}, seed {choice.seed}, {upload.name}"
        job = self._job(MAKE, title, choice.length_s or upload.seconds, stages, run)
        part = self._part(user, job)
        command = [*self.generate, *arguments, "--video", upload.name]
        command += ["--features", str(upload.features), "--out", part]
        job.steps.append(Step("features", command, str(upload.folder)))
        render = [*self.render, "music", "--video", str(upload.path)]
        render += ["--features", str(upload.features), "--out", part]
        job.steps.append(Step("pictures", render, str(upload.folder)))
        words = ["model", "generate", *shown, "--video", upload.name, "--out", "music"]
        job.facts |= {
            "upload": upload.id,
            "video": upload.name,
            "seed": choice.seed,
            "note": run.note,
            "command": shlex.join(words),
            "features_known": upload.features.is_dir(),
        }
        return self.queue.submit(user, job)

    def segment(self, user: User, key: object) -> Job:
        """Draw a segment of the data set; one that was drawn before is returned again."""
        if self.dataset is None:
            raise Refused("this studio shows no data set")
        found = self.dataset.segment(key)
        item, root = f"{self.dataset.id} {found.key}", str(self.dataset.root)
        command = ["segment", "--shards", root, "--split", found.split, f"--key={found.key}"]
        seconds = self.dataset.dataset.seconds
        return self._known(user, SEGMENT, item) or self._draw(
            user, SEGMENT, item, f"segment {found.key}", seconds, command
        )

    def clip(self, user: User, clip_id: object) -> Job:
        """Cut a curated clip to look at; one that was cut before is returned again."""
        if self.curated is None:
            raise Refused("this studio shows no curated clips")
        clip = self.curated.clip(clip_id)
        item = f"{self.curated.folder} {clip}"
        known = self._known(user, CLIP, item)
        if known is not None:
            return known
        command = ["clip", "--video", str(self.curated.video(clip))]
        command += ["--span-s", f"{clip.start_s:.6f}", f"{clip.end_s:.6f}"]
        command += ["--box", *map(str, clip.box)]
        seconds = clip.end_s - clip.start_s
        return self._draw(user, CLIP, item, f"clip {clip.id}", seconds, command)

    def facts(self, user: User, job: Job) -> dict[str, Any]:
        """Return what a finished job's facts.json says; Refused if it is not finished."""
        if job.state != DONE:
            raise Refused("not finished")
        try:
            return json.loads((self.queue.result(user, job) / uploads.FACTS).read_bytes())
        except (OSError, ValueError):
            raise Refused("the files of this result are not there any more") from None

    def file(self, user: User, job_id: object, name: object) -> tuple[Path, str]:
        """Return a file of the user's own result, by its kind, and its type."""
        if not isinstance(name, str) or name not in TYPES:
            raise Refused("no such file")
        job = self.queue.get(user, job_id)
        known = self.facts(user, job)["files"].get(name)
        path = self.queue.result(user, job) / str(known)
        if known is None or not path.is_file() or path.parent != self.queue.result(user, job):
            raise Refused("no such file")
        return path, TYPES[name]

    def _known(self, user: User, kind: str, item: str) -> Job | None:
        """Return the job that has drawn an item before, or will."""
        for job in self.queue.of(user, kind):
            if job.facts.get("item") == item and job.state not in (FAILED, CANCELLED):
                return job
        return None

    def _draw(
        self, user: User, kind: str, item: str, title: str, seconds: float, command: Sequence[str]
    ) -> Job:
        """Draw an item to look at."""
        job = self._job(kind, title, seconds)
        words = [*self.render, *command, "--out", self._part(user, job)]
        job.steps.append(Step("pictures", words, str(self.users.work)))
        job.facts["item"] = item
        return self.queue.submit(user, job)

    @staticmethod
    def _job(
        kind: str,
        title: str,
        seconds: float,
        stages: Sequence[str] = ("pictures",),
        run: RunFacts | None = None,
    ) -> Job:
        facts = {} if run is None else {"run": run.name}
        return Job(new_id(), kind, title, [], list(stages), seconds, facts)

    @staticmethod
    def _part(user: User, job: Job) -> str:
        return str(user.jobs / job.id / PART)
