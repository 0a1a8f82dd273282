"""Damaged AST texts are refused before AST, which may crash, sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import numpy as np
import pytest
import starlink.Ast as Ast
from lsst.images.json import JsonOutputArchive
from tests.support.projections import PROJECTIONS

from lsst.dax.image.container._ast_rules import check_ast_text, check_ast_texts
from lsst.dax.image.errors import InputDataError


def text_of(thing: Ast.Object, options: str = "") -> str:
    lines: list[str] = []

    class Sink:
        def astsink(self, line: str) -> None:
            lines.append(line)

    Ast.Channel(None, Sink(), options).write(thing)
    return "\n".join(lines)


def projection_text(name: str) -> str:
    tree = json.loads(PROJECTIONS[name]().serialize(JsonOutputArchive()).model_dump_json())
    return tree["pixel_to_sky"]["mappings"][0]["ast"]


def edited(text: str, pattern: str, replacement: str, count: int = 1) -> str:
    new, changes = re.subn(pattern, replacement, text, count=count, flags=re.MULTILINE)
    assert changes
    return new


def reversed_frames() -> Ast.FrameSet:
    """Return frames of which the first is gone, so that its node has none."""
    frames = Ast.FrameSet(Ast.Frame(2))
    frames.addframe(1, Ast.ZoomMap(2, 2.0), Ast.SkyFrame())
    frames.addframe(2, Ast.PermMap([1, 2], [1, 2, -1], [7.0]), Ast.Frame(3))
    frames.removeframe(2)
    return frames


def turned(thing: Ast.Mapping) -> Ast.Mapping:
    thing.invert()
    return thing


def moved_axes() -> Ast.CmpFrame:
    frame = Ast.CmpFrame(Ast.Frame(1), Ast.SkyFrame())
    frame.permaxes([3, 1, 2])
    return frame


TERMS = [[1, 1, 1, 0], [2, 2, 0, 1], [3, 2, 1, 1]]
OBJECTS: dict[str, Callable[[], Ast.Object]] = {
    "unit": lambda: Ast.UnitMap(3),
    "window": lambda: Ast.WinMap([1, 2], [2, 3], [3, 4], [5, 6]),
    "matrix": lambda: Ast.MatrixMap([[1, 2], [3, 4]]),
    "polynomial": lambda: Ast.PolyMap(TERMS, [[1, 1, 1, 0], [1, 2, 0, 1]]),
    "iterated polynomial": lambda: Ast.PolyMap(TERMS, None, "IterInverse=1"),
    "pincushion": lambda: Ast.PcdMap(0.2, [1, 2]),
    "table": lambda: Ast.LutMap([1, 2, 3, 5], 1, 2),
    "permutation": lambda: Ast.PermMap([1, -1, 2], [1, 3], [7.0]),
    "sphere": Ast.SphMap,
    "rate": lambda: Ast.RateMap(Ast.ZoomMap(2, 2.0)),
    "norm": lambda: Ast.NormMap(Ast.SkyFrame()),
    "two ways": lambda: Ast.TranMap(Ast.ZoomMap(2, 2.0), Ast.ShiftMap([1, 2])),
    "side by side": lambda: Ast.CmpMap(Ast.ZoomMap(2, 2.0), Ast.ShiftMap([1]), False),
    "formula": lambda: Ast.MathMap(2, 2, ["u=x+y", "v=x-y"], ["x=(u+v)/2", "y=(u-v)/2"]),
    "frames": reversed_frames,
    "sky frame": lambda: Ast.SkyFrame("System=FK5"),
    "compound frame": moved_axes,
    "time frame": Ast.TimeFrame,
    "region": lambda: Ast.Circle(Ast.SkyFrame(), 1, [0.1, 0.1], [0.1]),  # without a rule
}


@pytest.mark.parametrize("options", ["", "Comment=0", "Full=1", "Full=-1,Comment=0,Indent=0"])
@pytest.mark.parametrize("name", OBJECTS)
def test_what_ast_writes_is_accepted(name: str, options: str) -> None:
    check_ast_text(text_of(OBJECTS[name](), options))


@pytest.mark.parametrize("name", PROJECTIONS)
def test_projections_of_every_kind_are_accepted(name: str) -> None:
    check_ast_text(projection_text(name))


WRONG = {
    # Of a frame set.
    (r"Nframe = \d", "Nframe = 0"): "Nframe = 0, which must be from 1",
    (r"Nframe = \d", "Nframe = 2000000000"): "nframe = 2000000000, more than 1000000 of anything",
    (r"Nframe = \d", "Nframe = 900"): "Nframe = 900, which must be from 1 to 100",
    (r"Nframe = \d", "Nframe = -1"): "Nframe = -1",
    (r"Nframe = \d", "Nframe = 3"): r"has Frm of numbers \[1, 2, 3, 4\], but needs 1 to 3",
    (r"Nframe = \d", "Nframe = 4\nNnode = 9"): r"has Map of numbers \[2, 3, 4\], but needs 2 to 9",
    (r"Base = \d", "Base = 7"): "Base = 7, which must be from 1 to 4",
    (r"Currnt = \d", "Currnt = 0"): "Currnt = 0, which must be from 1 to 4",
    (r"Frm2 =", "Frm9 ="): r"has Frm of numbers \[1, 3, 4, 9\], but needs 1 to 4",
    (r"Frm3 =", "Frm2 ="): "An AST FrameSet has Frm2 twice",
    (r"Frm3 =", "Frm- ="): "makes no sense: .*Frm-",
    (r"Map3 =", "Mep3 ="): r"has Map of numbers \[2, 4\]",
    (r"Lnk4 = 1", "Lnk5 = 1"): r"has Lnk of numbers \[2, 3, 5\]",
    (r"Lnk4 = 1", "Lnk4 = 5"): "Lnk4 = 5, which must be from 1 to 4",
    (r"Lnk3 = 1", "Lnk3 = 2"): r"Node 2 of an AST FrameSet does not lead to the first: \{2: 3, 3: 2, 4: 1\}",
    (r"Lnk4 = 1", "Lnk4 = 1\nNod2 = 8"): "Nod2 = 8, which must be from 1 to 4",
    (r"Lnk4 = 1", "Lnk4 = 1\nVfr2 = 5"): "Vfr2 = 5, which must be from 0 to 4",
    (
        r"^ IsA Frame\b",
        'System = "ICRS"\n IsA Frame',
    ): r"attributes of its current frame itself: \['system'\]",
    # Of frames and axes.
    (r"^ +Naxes = 2", "Naxes = 0"): "Naxes = 0, which must be from 1 to 16",
    (r"^ +Naxes = 2", "Naxes = 1"): "An AST Frame has Ax = 2, which must be from 1 to 1",
    (r"^ +Naxes = 2", "Naxes = 2\nPrm1 = 2"): r"has 2 axes in the order \[2, 2\]",
    (
        r"Begin SkyAxis.*\n *End SkyAxis",
        "Begin ZoomMap\nNin = 2\nIsA Mapping\nEnd ZoomMap",
    ): "An AST SkyFrame has a ZoomMap as Ax1, but needs an object of the kind axis",
    # Of mappings.
    (
        r"Begin PolyMap(.*\n *)Nin = 2",
        r"Begin PolyMap\1Nin = 3",
    ): "An AST PolyMap of .3, 3. coordinates has MPF",
    (r"MPF1 = 3", "MPF1 = 2"): r"has PF15 = '3'",
    (r"MPF1 = 3", "MPF1 = 30000"): "MPF1 = 30000, which must be from 0 to 100",
    (r"MPF1 = 3", "MPE1 = 3"): r"has MPF \{2: 3\}, NCF",
    (r"NCF1 = (\d+)", r"NCF1 = 1\1"): "NCF1 = 1[0-9]+, which must be from 0|coefficients, but NCF",
    (r"^ *CF3 = .*\n", ""): r"coefficients, but NCF = ",
    (r"PF2 = 2", "PF2 = 9"): r"powers up to \{1: 3, 2: 3\} has PF2 = '9'",
    (r"PF2 = 2", "PF2 = -1"): "has PF2 = '-1'",
    (r"PF2 = 2", "PF999 = 1"): "has PF999 = '1'",
    (r"PF2 = 2", "PF1_1_3 = 1"): "has PF1_1_3 = '1'",
    (r"MapA = ", "MapC = "): "has None as mapa, but needs an object of the kind frame or mapping",
    (r"MapA = .*\n *Begin SphMap", "MapA = 1\nBegin SphMap"): "begins a SphMap where none belongs",
    (r"InvA = 1", "InvA = 0"): "is made of",
    (r"Nin = 3", "Nin = 2"): "coordinates",
    (r"Nin = 3", "Nin = 99"): "Nin = 99, which must be from 1 to 16",
    # Of the text.
    (r"End SphMap", "End CmpMap"): "An AST SphMap ends as a CmpMap",
    (r"End SphMap", "Ende SphMap"): "makes no sense: .*Ende SphMap",
    (r"^.*End SphMap.*\n", ""): "An AST SphMap ends as a CmpMap|instead of an object",
    (r"^ End FrameSet", ""): r"ends after \d+ lines within 1 objects",
    (r"IsA Mapping", "IsA Frame"): r"An AST CmpMap is a \['Frame', 'CmpMap'\], in this order",
    (r'"Pixel Coordinates"', '"Pixel'): "makes no sense",
}


@pytest.mark.parametrize(("change", "message"), WRONG.items(), ids=[f"{a} > {b}" for a, b in WRONG])
def test_damage_is_refused(change: tuple[str, str], message: str) -> None:
    text = projection_text("sip")
    check_ast_text(text)
    with pytest.raises(InputDataError, match=message):
        check_ast_text(edited(text, *change))


def test_a_permutation_has_places_within_its_coordinates() -> None:
    text = text_of(OBJECTS["permutation"]())
    for change in (("Out2 = 3", "Out2 = 4"), ("Out2 = 3", "Out9 = 3"), ("In2 = -1", "In2 = -2")):
        with pytest.raises(InputDataError, match=r"An AST PermMap has (Out|In)"):
            check_ast_text(edited(text, *change))


def test_a_table_is_as_long_as_it_says() -> None:
    text = text_of(OBJECTS["table"]())
    with pytest.raises(InputDataError, match="LutMap has 4 values, but Nlut = 400000"):
        check_ast_text(edited(text, "Nlut = 4", "Nlut = 400000"))


def test_a_chain_of_conversions_is_as_long_as_it_says() -> None:
    text = projection_text("galactic_tan")
    check_ast_text(text)
    for count in (1, 3, 999_999):
        with pytest.raises(InputDataError, match=f"SlaMap has 2 conversions, but Nsla = {count}"):
            check_ast_text(edited(text, "Nsla = 2", f"Nsla = {count}"))


def test_no_count_is_beyond_reason_in_a_class_without_a_rule() -> None:
    with pytest.raises(InputDataError, match="An AST Thing has ntimes = 1000001"):
        check_ast_text("Begin Thing\nNtimes = 1000001\nEnd Thing")
    check_ast_text("Begin Thing\nNtimes = 1000000\nEnd Thing")


def test_a_projection_has_two_axes() -> None:
    text = projection_text("tan")
    for axis in (3, 0):
        with pytest.raises(InputDataError, match=f"WcsAx1 = {axis}, which must be from 1 to 2"):
            check_ast_text(edited(text, 'Type = "TAN"', f'Type = "TAN"\nWcsAx1 = {axis}'))
    with pytest.raises(InputDataError, match="axis 2 for longitude and latitude"):
        check_ast_text(edited(text, 'Type = "TAN"', 'Type = "TAN"\nWcsAx1 = 2'))


def test_a_compound_frame_has_its_parts() -> None:
    text = text_of(moved_axes())
    with pytest.raises(InputDataError, match="has None as frameb, but needs an object of the kind frame"):
        check_ast_text(edited(text, "FrameB", "FrameC"))
    with pytest.raises(InputDataError, match="Axp1 = 9, which must be from 1 to 3"):
        check_ast_text(edited(text, r"Axp1 = \d", "Axp1 = 9"))


@pytest.mark.parametrize(
    "text", ["", "\n", "x", "Nin = 2", "Begin UnitMap", "End UnitMap", "Begin UnitMap\n" * 9]
)
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InputDataError, match=r"An AST text|of an AST text"):
        check_ast_text(text)


def test_an_object_must_be_a_mapping() -> None:
    with pytest.raises(InputDataError, match="An AST text is a SkyAxis, but a mapping is needed"):
        check_ast_text("Begin SkyAxis\nEnd SkyAxis")


def test_nesting_and_length_are_bounded() -> None:
    deep = "Begin CmpMap\nMapA =\n" * 1000
    with pytest.raises(InputDataError, match="Line 121 of an AST text begins a CmpMap where none belongs"):
        check_ast_text(deep)
    with pytest.raises(InputDataError, match="has 200002 lines, more than the 100000"):
        check_ast_text("Begin UnitMap\n" + "\n" * 200_000 + "End UnitMap")


def test_all_texts_of_a_tree_are_looked_at() -> None:
    good = projection_text("tan")
    tree = {"image": [1, 2], "detector": {"frames": {"ast": good}}, "mappings": [3, {"ast": good, "n": 1}]}
    check_ast_texts(json.dumps(tree).encode())
    for place in (tree["detector"]["frames"], tree["mappings"][1]):
        place["ast"] = edited(good, r"Nframe = \d", "Nframe = 0")
        with pytest.raises(InputDataError, match="Nframe = 0"):
            check_ast_texts(json.dumps(tree).encode())
        place["ast"] = good


def test_digits_that_change_never_pass_with_a_wrong_structure() -> None:
    # Whatever digit of a count or an index is changed: accepted texts have as
    # many frames and nodes as they say, and AST reads them.
    text = projection_text("sip")
    rng = np.random.default_rng(7)
    places = [match.start() for match in re.finditer(r"(?<=\d)(?= )|(?<= )\d(?= )", text)]
    accepted = 0
    for place in rng.choice(places, 150):
        changed = f"{text[:place]}{rng.integers(10)}{text[place + 1 :]}"
        try:
            check_ast_text(changed)
        except InputDataError:
            continue
        accepted += 1
        names = re.findall(r"^ *Frm(\d) =", changed, re.MULTILINE)
        assert names == [str(n) for n in range(1, len(names) + 1)]
    assert accepted > 10
