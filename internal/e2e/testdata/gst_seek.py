"""Plays H.264 over RTSP with GStreamer, seeks about, and writes what is shown.

gst_seek.py URL PROTOCOLS STEP...

Steps: seek=SECONDS, speed=FACTOR@SECONDS, pause, play, pull=COUNT (0: up to the end). Each picture is a line: the number of the
step, the time in the stream in seconds, the rate of its segment, and the MD5 sum of its planes.
"""

import hashlib
import sys

import gi

gi.require_version("Gst", "1.0")
from gi.repository import Gst  # noqa: E402

PATIENCE = 240 * Gst.SECOND


def fail(why):
    message = pipeline.get_bus().pop_filtered(Gst.MessageType.ERROR)
    sys.exit(f"{why}: {message.parse_error() if message else 'no error'}")


def pull(step, count):
    pulled = 0
    while count == 0 or pulled < count:
        sample = out.emit("try-pull-sample", PATIENCE)
        if sample is None:
            if count == 0 and out.get_property("eos"):
                return
            fail(f"step {step}: picture {pulled} does not come")
        buf, segment = sample.get_buffer(), sample.get_segment()
        at = segment.to_stream_time(Gst.Format.TIME, buf.pts) / Gst.SECOND
        digest = hashlib.md5(buf.extract_dup(0, buf.get_size())).hexdigest()
        print(step, f"{at:.3f}", segment.rate, digest, flush=True)
        pulled += 1


def seek(rate, seconds):
    flags = Gst.SeekFlags.FLUSH | Gst.SeekFlags.KEY_UNIT
    at = int(float(seconds) * Gst.SECOND)
    if not pipeline.seek(float(rate), Gst.Format.TIME, flags, Gst.SeekType.SET, at, Gst.SeekType.NONE, 0):
        fail(f"seek to {seconds}")


Gst.init(None)
url, protocols, *steps = sys.argv[1:]
pipeline = Gst.parse_launch(
    f"rtspsrc location={url} protocols={protocols} latency=300 tcp-timeout=300000000 timeout=300000000 ! rtph264depay ! h264parse ! avdec_h264"
    " ! video/x-raw,format=I420 ! appsink name=out sync=false async=false"
)
out = pipeline.get_by_name("out")
pipeline.set_state(Gst.State.PLAYING)
for number, step in enumerate(steps):
    what, _, value = step.partition("=")
    if what == "seek":
        seek(1, value)
    elif what == "speed":
        seek(*value.split("@"))
    elif what == "pause":
        pipeline.set_state(Gst.State.PAUSED)
    elif what == "play":
        pipeline.set_state(Gst.State.PLAYING)
    elif what == "pull":
        pull(number, int(value))
pipeline.set_state(Gst.State.NULL)
