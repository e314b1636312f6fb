"""An outside witness: the chain's head signed with an SSH key, as git signs a commit.

The signature lies beside the copy of the entry that it signs. An entry's text begins with the hash of
the one before, so that a signature covers all that came before it too."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rollout_lib.archive import copies
from rollout_lib.archive.chain import SHORT, Finding, Link, digest, text_of
from rollout_lib.archive.writing import write_once
from rollout_lib.errors import ArchiveFailed, NameTaken, UsageError

VARIABLE = "ROLLOUT_SIGNING_KEY"
NAMESPACE = "rollout"
_LIMIT_S = 10.0  # a key that waits for somebody's touch or passphrase


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A signature that holds: who signed, and the last entry that it covers."""

    by: str
    seq: int


def sign_last(outputs: Path) -> str:
    """Sign the newest copy of each chain that has no signature, where $ROLLOUT_SIGNING_KEY names a
    key; returns what went wrong ("" for nothing).

    Comes after everything else, and keeps nothing waiting for longer than some seconds."""
    key = os.environ.get(VARIABLE, "").strip()
    for folder in copies.chains(outputs) if key else ():
        newest = max(copies.texts(folder), default=None)
        if newest is None or copies.signature_of(newest).exists():
            continue
        done = _keygen("sign", "-f", key, "-n", NAMESPACE, said=newest.read_bytes())
        if isinstance(done, str) or done.returncode != 0:
            why = done if isinstance(done, str) else done.stderr.decode(errors="replace").strip()
            return f"the head was not signed ({VARIABLE}: {why[:200] or 'no answer'})"
        try:
            write_once(copies.signature_of(newest), done.stdout)
        except NameTaken:
            continue  # another run was faster
        except ArchiveFailed as failure:
            return f"the head was signed, and the signature not kept: {failure}"
    return ""


def check_signatures(
    outputs: Path, signers: Path, chain: Sequence[Link]
) -> tuple[list[Finding], list[Signed]]:
    """Each signature below an output folder by a file of allowed signers (see ssh-keygen(1)).

    A signature counts only where it signs the text that the chain holds. Raises UsageError where
    the file cannot be read or ssh-keygen is not there."""
    if not signers.is_file():
        raise UsageError(reason=f"--allowed-signers: {signers} cannot be read.")
    held: Mapping[int, str] = {entry.seq: text_of(entry) for entry in chain}
    found, good = [], []
    for path in _signed(outputs / copies.FOLDER / (digest(chain[0])[:SHORT] if chain else "none")):
        seq, text = int(path.name[:7]), path.read_bytes()
        by = _signer(path, text, signers)
        where = f"{path.relative_to(outputs).as_posix()}.sig"
        if not by:
            what = f"{where}: no signature of an allowed signer for this text"
            found.append(Finding(kind="unsigned", where="files", what=what))
        elif seq in held and held[seq].encode() != text:
            what = f"{where}: {by} signed another text of #{seq} than the ledger holds"
            found.append(Finding(kind="edited", where="database", what=what))
        elif seq in held:
            good.append(Signed(by=by, seq=seq))
    if not good:
        what = "no signature covers any entry of this ledger"
        found.append(Finding(kind="unsigned", where="files", what=what))
    return found, good


def _signed(folder: Path) -> Iterator[Path]:
    if folder.is_dir():  # another chain's signatures say nothing of this one
        texts = sorted(copies.texts(folder))
        yield from (path for path in texts if copies.signature_of(path).exists())


def _signer(path: Path, text: bytes, signers: Path) -> str:
    """Who signed it, by the file of allowed signers; "" where nobody of them did."""
    signature = str(copies.signature_of(path))
    names = _keygen("find-principals", "-s", signature, "-f", str(signers))
    if isinstance(names, str):
        raise UsageError(reason=f"A signature cannot be checked: {names}")
    for name in names.stdout.decode(errors="replace").splitlines() if not names.returncode else ():
        how = ("-f", str(signers), "-I", name, "-n", NAMESPACE, "-s", signature)
        done = _keygen("verify", *how, said=text)
        if not isinstance(done, str) and done.returncode == 0:
            return name
    return ""


def _keygen(what: str, *how: str, said: bytes = b"") -> subprocess.CompletedProcess[bytes] | str:
    """Run ssh-keygen -Y; why it could not be run."""
    try:
        return subprocess.run(
            ["ssh-keygen", "-Y", what, *how],
            input=said,
            capture_output=True,
            timeout=_LIMIT_S,
            check=False,
            start_new_session=True,  # no terminal: nothing asks for a passphrase and waits
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never"},
        )
    except FileNotFoundError:
        return "ssh-keygen is not installed (the package openssh-client)"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"ssh-keygen did not end: {type(error).__name__}"
