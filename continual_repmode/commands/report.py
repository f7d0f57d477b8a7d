"""``continual-repmode report``: run folders as one HTML file to look at and pass on."""

from collections.abc import Sequence

from continual_repmode.commands._manifest_arguments import Parser, parse

_ABOUT = """\
Write one HTML file about one or more runs.

It tells what was trained on what, how well each structure is predicted and whether
earlier ones changed, and shows learning curves, gating weights and predictions, plane
by plane. Several runs are compared. The file needs no other file and no network, so it
can be sent by mail. Runs that are not complete are shown as far as they came; run
folders are not changed."""


def main(arguments: Sequence[str]) -> int:
    """Write a report; return the exit status.

    Raises UserError if a folder is no run folder, or the file exists.
    """
    parser = Parser("report", _ABOUT, "runs/incremental/* --out all.html")
    add = parser.add_argument
    add("folders", nargs="+", metavar="RUN_FOLDER", help="as a run wrote it")
    add(
        "--out",
        default="report.html",
        metavar="FILE",
        help="the file to write (default: report.html)",
    )
    add(
        "--predicted",
        action="append",
        default=[],
        metavar="DIR",
        help="where predict --uncertainty --target wrote: also show errors against "
        "predicted deviations; may be repeated",
    )
    add("--overwrite", action="store_true", help="replace the file if it exists")
    chosen = parse(parser, arguments)
    if chosen is None:
        return 0

    from continual_repmode.reporting import write_report

    path = write_report(
        chosen.folders,
        chosen.out,
        predicted=chosen.predicted,
        overwrite=chosen.overwrite,
    )
    print(f"report: {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
