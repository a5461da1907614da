"""Which published networks stand beside those of a run."""

from types import SimpleNamespace

from nxt.arch.costs import cost
from nxt.arch.spec import ArchSpec
from nxt.arch.zoo import RELATED
from nxt.report.published import published


def run_of(*specs, counted=(None, None)):
    entries = [SimpleNamespace(cost=cost(spec, *counted), spec=spec) for spec in specs]
    request = SimpleNamespace(space=SimpleNamespace(counted=counted))
    return SimpleNamespace(entries=entries, request=request)


def narrow(width):
    """ResNet-50, narrower."""
    return ArchSpec(
        depths=(3, 4, 6, 3),
        widths=tuple(4 * width << stage for stage in range(4)),
        base_width=(width,),
        stem_width=width,
    )


def test_beside_small_networks_stand_regnets_by_rising_cost():
    found = published(run_of(narrow(12), narrow(28)))  # 0.16 to 0.81 G
    assert [entry.name for entry, _ in found] == [related.name for related in RELATED]
    assert [spent.macs for _, spent in found] == sorted(related.cost.macs for related in RELATED)


def test_a_network_outside_the_range_of_costs_is_left_out():
    assert [entry.name for entry, _ in published(run_of(narrow(20)))] == ["RegNetX-400MF"]  # 425 M


def test_beside_networks_for_small_images_stand_none_for_large_ones():
    found = published(run_of(ArchSpec.from_name("resnext29_8x64d_cifar"), narrow(20).replace(stem="cifar")))
    assert found and all(entry.spec.stem == "cifar" for entry, _ in found)


def test_costs_counted_elsewhere_are_compared_with_costs_counted_there():
    resnet50 = ArchSpec.from_name("resnet50")
    found = dict(published(run_of(resnet50, counted=(112, 10))))
    names = [entry.name for entry in found]
    assert "resnet50" in names and not set(names) & {related.name for related in RELATED}
    assert all(spent == cost(entry.spec, 112, 10) for entry, spent in found.items())


def test_a_run_without_results_has_none():
    assert published(run_of()) == []
