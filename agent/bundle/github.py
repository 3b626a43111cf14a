"""Fetch a commit from GitHub as an archive."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import quote, urljoin, urlsplit

from agent.bundle.fetch import FetchOptions, PartialFile, Progress, ProgressReporter, TransientError
from agent.deployment.spec import BundleType, GitHubRevision
from agent.errors import BundleError
from agent.network.errors import NetworkError
from agent.network.http import Response
from agent.network.proxies import is_loopback
from agent.retry import Clock, Retries, RetryPolicy

ATTEMPTS = RetryPolicy((10.0, 30.0, 90.0), attempts=4)
"""As the official agents wait."""

MOST_REDIRECTS = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_ERROR = 64 * 1024


def fetch_github(
    revision: GitHubRevision,
    destination: str,
    *,
    token: str | None,
    options: FetchOptions,
    progress: Progress | None = None,
    mode: int = 0o644,
    clock: Clock | None = None,
) -> None:
    """Bring a commit's archive to ``destination``, with this mode; the file appears there when it is whole.

    The type zip brings GitHub's zip archive, any other its gzip-compressed tar archive. Faults of the network and of
    the server and a used-up rate limit are waited out three times. The token goes to the endpoint's own host only.
    Raises BundleError, after which an older file stands.
    """
    source = _Archive(revision, options, token)

    def attempt() -> None:
        with PartialFile(destination, name=source.name, mode=mode) as file:
            source.bring(file, ProgressReporter(source.name, progress))
            file.keep()

    try:
        Retries(ATTEMPTS, source.name, clock).run(attempt)
    except (NetworkError, TransientError) as error:
        raise BundleError(f"{source.name} cannot be fetched: {error.message}", remedy=error.remedy) from error


class _Place(NamedTuple):
    """What makes a URL lead to the same server."""

    scheme: str
    host: str | None
    port: int | None


class _Archive:
    def __init__(self, revision: GitHubRevision, options: FetchOptions, token: str | None) -> None:
        self.name = f"{revision.account}/{revision.repository} at {revision.commit_id} on GitHub"
        self._options = options
        self._token = token
        parts = [revision.account, revision.repository, *revision.commit_id.split("/")]
        if any(part in ("", ".", "..") for part in parts) or "/" in revision.account + revision.repository:
            raise BundleError(f"{self.name}: these cannot be names of an account, a repository and a commit.")
        form = "zipball" if revision.bundle_type is BundleType.ZIP else "tarball"
        account, repository, *commit = (quote(part, safe="", errors="surrogateescape") for part in parts)
        top = options.github_endpoint.rstrip("/")
        self._url = f"{top}/repos/{account}/{repository}/{form}/{'/'.join(commit)}"
        self._place = _place(self._url)

    def bring(self, file: PartialFile, reporter: ProgressReporter) -> None:
        """Write the archive into a file. Raises NetworkError, BundleError."""
        with self._open() as response:
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() and len(length) < 19 else None
            file.reserve(total or 0)
            size = 0
            for chunk in response.chunks():
                file.write_at(file.descriptor, chunk, size)
                size += len(chunk)
                reporter.tell(size, total)
        file.cut(size)
        if not size:
            raise BundleError(f"{self.name}: GitHub sent an empty archive.", remedy="Check the commit, deploy again.")
        reporter.ended(size)

    def _open(self) -> Response:
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            response = self._request(url)
            if response.status == 200:
                return response
            location = response.headers.get("Location", "")
            if response.status not in _REDIRECTS or not location:
                raise self._refusal(response)
            response.close()
            url = self._next(url, location)
        raise BundleError(f"{self.name}: more than {MOST_REDIRECTS} redirects follow one another.")

    def _request(self, url: str) -> Response:
        headers = {"Accept": "application/vnd.github+json, */*;q=0.8"}
        if self._token and _place(url) == self._place:
            headers["Authorization"] = f"token {self._token}"
        return self._options.http.request("GET", url, headers=headers, read_timeout=self._options.stall)

    def _next(self, url: str, location: str) -> str:
        found = urljoin(url, location)
        place = _place(found)
        on_this_host = is_loopback(place.host or "") and is_loopback(self._place.host or "")
        if place.scheme != "https" and not (place.scheme == "http" and on_this_host):
            raise BundleError(
                f"{self.name}: a redirect leads to {place.scheme}://{place.host}.",
                remedy="Only https is followed: over http another host on the way could change the bundle.",
            )
        return found

    def _refusal(self, response: Response) -> BundleError:
        status, headers = response.status, response.headers
        try:
            with response:
                text = response.read(_LONGEST_ERROR).decode("utf-8", "replace")
        except NetworkError:
            text = ""
        limited = "rate limit" in text.lower() or headers.get("x-ratelimit-remaining") == "0" or status == 429
        if status == 403 and headers.get("x-github-sso"):
            limited = False
        if status >= 500 or limited:
            what = "its rate limit for this host is used up" if limited else "it has a fault of its own"
            remedy = "" if self._token else "With a token GitHub allows far more requests."
            return TransientError(f"GitHub answers with status {status}: {what}.", remedy=remedy if limited else "")
        return BundleError(
            f"{self.name} cannot be fetched: GitHub answers with status {status}.", remedy=self._advice(status)
        )

    def _advice(self, status: int) -> str:
        if status == 401:
            return "The token is not valid (any more): connect CodeDeploy to GitHub again, or make a new token."
        if status == 403:
            return (
                "The token may not read the repository: it needs the scope repo (or contents: read), and in an"
                " organisation with single sign-on it must be authorised for that."
            )
        if status == 404 and not self._token:
            return "Check account, repository and commit; a private repository is answered so where no token was given."
        if status == 404:
            return (
                "Check account, repository and commit. A private repository is answered so where the token's user may"
                " not read it, or its organisation has not approved the application that the token was made for."
            )
        return ""


def _place(url: str) -> _Place:
    try:
        parts = urlsplit(url)
        return _Place(parts.scheme, parts.hostname, parts.port)
    except ValueError:
        return _Place("", None, None)
