"""Files of the Hugging Face Hub, from the local cache where it has them."""

import errno
from collections.abc import Sequence
from pathlib import Path

from backbone.common.errors import InputError


def snapshot(hub: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Return the folder with some files of a repository.

    Args:
        hub: Its id, as owner/name.
        revision: A branch, a tag or a commit; None for the default branch.
        patterns: Names of the files.

    Raises:
        InputError: If they cannot be had, in a line that says why.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        folder = snapshot_download(hub, revision=revision, allow_patterns=list(patterns))
    except GatedRepoError:
        raise InputError(
            f"{hub} asks every user to accept its terms: accept them on its page on the Hub, then "
            f"log in with `hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise InputError(
            f"{hub} has no revision {revision}; give a branch, a tag or a commit of it, or none"
        ) from None
    except RepositoryNotFoundError:
        raise InputError(
            f"the Hub has no model {hub} (or it is private: `hf auth login`)"
        ) from None
    except LocalEntryNotFoundError:
        raise InputError(_offline(hub)) from None
    except HfHubHTTPError as error:
        raise InputError(f"{hub}: the Hub answers {str(error).splitlines()[0]}") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{hub} cannot be saved: no space is left for {error.filename or 'the Hub cache'}; "
                f"free some, or set HF_HOME to a folder on another disk"
            ) from None
        raise InputError(_offline(hub)) from None
    return Path(folder)


def revision_of(folder: Path) -> str | None:
    """Return the commit of a snapshot, which lies in .../snapshots/COMMIT; None for others."""
    return folder.name if folder.parent.name == "snapshots" else None


def _offline(hub: str) -> str:
    return (
        f"{hub} is not in the local cache and the Hub cannot be reached: connect once, give "
        f"backbone=FOLDER with its config.json and model.safetensors, or use backbone=bundled"
    )
