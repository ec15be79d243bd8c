"""Downloads against a real server on this machine, that breaks off, lies or is not there."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from training.data.checksums import Checksum
from training.data.download import download
from training.data.errors import DownloadFailed

CONTENT = bytes(range(256)) * 800  # 204,800 bytes
SHA256 = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())


class Server:
    """Serves CONTENT; each entry of `cuts` breaks one answer off after so many bytes."""

    def __init__(self, content=CONTENT, cuts=(), ranges=True, status=None):
        self.content, self.cuts, self.ranges, self.status = content, list(cuts), ranges, status
        self.asked: list[str | None] = []  # the Range header of each request
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/file.bin"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,))
        self.thread.start()

    def answer(self, request):
        wanted = request.headers["Range"]
        self.asked.append(wanted)
        if self.status is not None:
            request.send_error(self.status)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start >= len(self.content):
            request.send_response(416)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        request.send_header("Content-Length", str(len(self.content) - start))
        if start:
            last = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(self.content)}")
        request.end_headers()
        cut = self.cuts.pop(0) if self.cuts else len(self.content)
        request.wfile.write(self.content[start : start + cut])

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def serve():
    servers = []

    def start(**how):
        servers.append(Server(**how))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def test_a_file_comes_whole_and_progress_ends_at_its_size(serve, tmp_path):
    reports = []
    target = download(
        [serve().url], tmp_path / "a" / "file.bin", SHA256, lambda *report: reports.append(report)
    )
    assert target.read_bytes() == CONTENT
    assert reports[-1][1:] == (len(CONTENT), len(CONTENT))
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_broken_download_goes_on_where_it_stopped(serve, tmp_path):
    server = serve(cuts=[100_000, 50_000])
    reports = []
    target = download(
        [server.url], tmp_path / "file.bin", SHA256, lambda *report: reports.append(report[1:])
    )
    assert reports[-1] == (len(CONTENT), len(CONTENT))
    assert target.read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_with_what_an_earlier_one_left(serve, tmp_path):
    broken = serve(cuts=[1000] * 3)
    with pytest.raises(DownloadFailed):
        download([broken.url], tmp_path / "file.bin", SHA256)
    assert not (tmp_path / "file.bin").exists()
    server = serve()
    download([server.url], tmp_path / "file.bin", SHA256)
    assert server.asked == ["bytes=3000-"]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_begins_anew(serve, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"old")
    server = serve(ranges=False)
    download([server.url], tmp_path / "file.bin", SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert server.asked == ["bytes=3-"]


def test_a_part_that_is_already_whole_is_taken(serve, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    server = serve()
    download([server.url], tmp_path / "file.bin", SHA256)
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_part_of_another_file_is_thrown_away(serve, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"another file")
    download([serve().url], tmp_path / "file.bin", SHA256)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_wrong_content_is_refused_and_not_kept(serve, tmp_path):
    with pytest.raises(DownloadFailed, match="not the published one"):
        download([serve(content=b"evil").url], tmp_path / "file.bin", SHA256)
    assert list(tmp_path.iterdir()) == []


def test_the_next_mirror_serves_where_one_fails(serve, tmp_path):
    mirrors = [serve(status=404).url, serve(content=b"evil").url, serve().url]
    assert download(mirrors, tmp_path / "file.bin", SHA256).read_bytes() == CONTENT


def test_without_a_network_the_message_says_where_to_put_the_file(tmp_path):
    server = Server()
    server.close()  # nothing listens there any more
    with pytest.raises(DownloadFailed, match="offline") as caught:
        download([server.url], tmp_path / "file.bin", SHA256)
    assert str(tmp_path / "file.bin") in str(caught.value)
    assert server.url in str(caught.value)


def test_an_md5_serves_as_well(serve, tmp_path):
    checksum = Checksum("md5", hashlib.md5(CONTENT).hexdigest())
    assert download([serve().url], tmp_path / "file.bin", checksum).exists()


def test_a_data_set_is_downloaded_into_the_data_root(serve, tmp_path):
    from dataclasses import replace

    from training.data.idx import IdxFiles
    from training.data.progress import silent
    from training.data.sets import mnist

    from .conftest import write_idx_files

    made_up = write_idx_files(tmp_path / "published")
    files = []
    for wanted in vars(made_up).values():
        url = serve(content=(tmp_path / "published" / wanted.name).read_bytes()).url
        files.append(replace(wanted, addresses=(url.removesuffix("file.bin"),)))
    data = mnist.load(mnist.Options(), tmp_path / "root", silent, IdxFiles(*files))
    assert len(data.test) == 12
    assert len(list((tmp_path / "root" / "mnist").iterdir())) == 4
