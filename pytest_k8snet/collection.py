"""What is collected: the bundled labs, and the manifests of the labs that are selected."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import pytest

from pytest_k8snet.manifests import Manifest, ManifestError, load_all
from pytest_k8snet.settings import Settings

BUNDLED = ("pause", "pod_network", "clusterip", "nodeport")  #: in the document's order
OUTAGE = "outage"  #: the lab that runs the command of --k8snet-watch; before all others, which judge after it
MANIFESTS = "K8SNET_MANIFESTS"  #: module constant: paths of further manifests, relative to the test file

NOT_WATCHED = "nothing to watch: --k8snet-watch COMMAND runs it while clients send"
NOT_DISRUPTIVE = "kills or adds containers: on a cluster that exists, only with --k8snet-disruptive"

_WORKER_PROBLEM = "k8snet_usage_error"  # a worker's message to its controller, in xdist's workeroutput


def bundled_labs() -> Path:
    """The directory of the bundled labs: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for directory in (package / "scenarios", package.parent / "scenarios"):
        if all((directory / lab).is_dir() for lab in BUNDLED):
            return directory
    raise pytest.UsageError(f"--k8snet: the bundled labs are missing beside {package}; install it again")


def lab_name(test_file: Path) -> str:
    """The lab of a test file: its directory's name, as claims and bundles write it."""
    return test_file.parent.name.replace("_", "-")


def claim_id(item: pytest.Item) -> str:
    """ "LAB/NAME" of a test: ``pod_network/test_x.py::test_one_flow`` claims ``pod-network/one-flow``."""
    name, bracket, parameters = item.name.partition("[")
    return f"{lab_name(item.path)}/{name.removeprefix('test_').replace('_', '-')}{bracket}{parameters}"


def uses(item: pytest.Item, fixture: str) -> bool:
    """Whether a test asks for a fixture, itself or through another one."""
    return fixture in getattr(item, "fixturenames", ())


def manifest_files(module: ModuleType) -> list[Path]:
    """The lab's manifests: what ``K8SNET_MANIFESTS`` names, then every ``*.yaml`` beside the test file.

    Raises :class:`~pytest_k8snet.manifests.ManifestError` when the constant isn't a list of paths.
    """
    assert module.__file__ is not None
    here = Path(module.__file__).parent
    named: Sequence[str] = getattr(module, MANIFESTS, ())
    if not isinstance(named, (list, tuple)) or not all(isinstance(path, str) for path in named):
        raise ManifestError(f"{Path(module.__file__).name}: {MANIFESTS} is not a list of paths")
    files = [(here / path).resolve() for path in named]
    return list(dict.fromkeys([*files, *sorted(path.resolve() for path in here.glob("*.yaml"))]))


def manifests_of(items: Iterable[pytest.Item]) -> list[Manifest]:
    """The objects of all labs among ``items``, each file read once."""
    modules = {item.path: item.getparent(pytest.Module) for item in items if uses(item, "lab")}
    files = [path for module in modules.values() if module for path in manifest_files(module.obj)]
    return load_all(dict.fromkeys(files))


def watches(settings: Settings) -> bool:
    """Whether the lab :data:`OUTAGE` has anything to show: a command to run, or one that was recorded."""
    recorded = settings.replay is not None and (settings.replay / "labs" / OUTAGE).is_dir()
    return bool(settings.watch) or recorded


def take_bundled(config: pytest.Config, *, outage: bool = False) -> Path:
    """Point pytest at the bundled labs where the user named no path; returns their directory. ``outage``: at
    that lab too.

    ``scenarios/...`` on the command line (an id as reports print it) means the bundled file where the
    user has no such file of their own.
    """
    directory = bundled_labs()
    labs = (OUTAGE, *BUNDLED) if outage else BUNDLED
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(directory / lab) for lab in labs]
        return directory
    for index, arg in enumerate(config.args):
        path, colons, names = arg.partition("::")
        here = config.invocation_params.dir / path
        ours = directory.parent / path
        if not here.exists() and ours.is_relative_to(directory) and ours.exists():
            config.args[index] = f"{ours}{colons}{names}"
    return directory


def _covers(arg: str, lab: Path) -> bool:
    """Whether an argument of pytest's names ``lab``, what is in it, or where it is."""
    path = Path(arg.partition("::")[0]).absolute()
    return lab.is_relative_to(path) or path.is_relative_to(lab)


class Collection:
    """Hooks that collect the bundled labs from anywhere and check manifests before anything starts."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._outage = watches(settings)
        self._directory = take_bundled(config, outage=self._outage)
        if settings.watch and not any(_covers(arg, self._directory / OUTAGE) for arg in config.args):
            config.args.insert(0, str(self._directory / OUTAGE))  # the command must run, whatever is named
        self._settings = settings
        # The bundled labs were asked for: the way to them must stay open where they are installed in a
        # virtual environment inside the user's project, which pytest otherwise passes by.
        self._asked = any(arg.startswith(str(self._directory)) for arg in config.args)

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        if collection_path == self._directory / OUTAGE and not self._outage:
            return True
        return False if self._asked and self._directory.is_relative_to(collection_path) else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_pycollect_makemodule(
        self, module_path: Path, parent: pytest.Collector
    ) -> pytest.Module | None:
        """The same ids wherever the labs are installed: ``scenarios/pause/test_pause.py::...``."""
        if not module_path.is_relative_to(self._directory):
            return None
        nodeid = module_path.relative_to(self._directory.parent).as_posix()
        module: pytest.Module = pytest.Module.from_parent(parent, path=module_path, nodeid=nodeid)
        return module

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """After -k and -m: manifests of deselected labs don't matter."""
        for item in items:
            if uses(item, "judge"):
                item.user_properties.append(("k8snet_claim", claim_id(item)))
            if self._is_outage(item) and not self._outage:
                item.add_marker(pytest.mark.skip(reason=NOT_WATCHED))
            if not self._settings.disruptive and item.get_closest_marker("disruptive"):
                item.add_marker(pytest.mark.skip(reason=NOT_DISRUPTIVE))
        try:
            self._check_manifests(items)
        except ManifestError as error:
            output = getattr(config, "workeroutput", None)
            if output is None:
                raise pytest.UsageError(str(error)) from None
            # A worker's exit status reaches nobody: the controller raises it, see below.
            output[_WORKER_PROBLEM] = str(error)
            items.clear()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """After --lf, --ff and all else that leaves out and sorts."""
        session.items.sort(key=lambda item: not self._is_outage(item))
        if self._settings.watch and session.items and not self._is_outage(session.items[0]):
            raise pytest.UsageError(
                "--k8snet-watch: no test of scenarios/outage is selected, so the command would not run"
            )

    def _is_outage(self, item: pytest.Item) -> bool:
        return item.path.parent == self._directory / OUTAGE

    def _check_manifests(self, items: Iterable[pytest.Item]) -> None:
        from pytest_k8snet.embedded import supported

        found = manifests_of(items)
        if self._settings.provider == "embedded":
            supported.check(found, service_cidr=self._settings.intent().service_cidr)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        problem = getattr(node, "workeroutput", {}).get(_WORKER_PROBLEM)
        if problem:
            raise pytest.UsageError(problem)
