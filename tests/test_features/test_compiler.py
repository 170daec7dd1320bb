"""What compiles, what is refused and how it is said, and the plan as a description that outlives Featuretools."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import featuretools as ft
import msgspec
import pytest
from facts import of_type
from featuretools import primitives as p
from more_definitions import define_more

from data.default_shop import SHOP
from data.errors import DefinitionError
from data.units import DAY_US, HOUR_US
from features import primitives as own
from features.plan import cache as plan_cache
from features.plan.cache import load_plan
from features.plan.compiler import compile_features, compile_plan
from features.plan.describe import describe, formula
from features.plan.entity_set import entity_set
from features.plan.plan import LAST_EVENT, Aggregate, Decayed, Deviation, Feature, Plan, Quotient, Slope, Total, Window
from features.primitives import NumUnique, Rate

WEEK = Window(7 * DAY_US, HOUR_US, "7d")


class Shop:
    """The columns of events, and features over them."""

    def __init__(self) -> None:
        self.entities = entity_set()
        self.event = self.entities["events"].ww
        self.purchased = ft.Feature(self.event["event_type"]) == "purchase"

    def over(self, columns: Any, primitive: Any, frame: str = "users", **options: Any) -> Any:
        base = columns
        if isinstance(columns, str):
            base = self.event[columns]
        elif isinstance(columns, list):
            base = [self.event[name] for name in columns]
        return ft.Feature(base, parent_dataframe_name=frame, primitive=primitive, **options)


@pytest.fixture(scope="module")
def shop() -> Shop:
    return Shop()


def compiled(feature: Any) -> Feature:
    (only,) = compile_features([feature.rename("wanted")]).features
    return only


@pytest.mark.parametrize(
    ("column", "primitive", "kind"),
    [
        ("amount", p.Min, "min"),
        ("amount", p.Max, "max"),
        ("quantity", p.Max, "max"),
        ("amount", p.First, "first"),
        ("amount", p.Last, "last"),
        ("timestamp", p.TimeSinceFirst(unit="hours"), "first_time"),
        ("timestamp", p.TimeSinceLast(unit="seconds"), "last_time"),
    ],
)
def test_what_keeps_one_number_compiles(shop: Shop, column: str, primitive: Any, kind: str) -> None:
    feature = compiled(shop.over(column, primitive, where=shop.purchased))
    assert feature.expression.aggregate.kind == kind  # type: ignore[union-attr]
    assert feature.expression.aggregate.where == of_type("purchase")  # type: ignore[union-attr]


def test_additive_primitives_have_windows(shop: Shop) -> None:
    week = {"where": shop.purchased, "use_previous": "7 days"}
    count, total = Aggregate("count", where=of_type("purchase")), Aggregate("sum", "amount", of_type("purchase"))
    assert compiled(shop.over("event_id", p.Count, **week)).expression == Total(count, WEEK)
    assert compiled(shop.over("amount", p.Sum, **week)).expression == Total(total, WEEK)
    assert compiled(shop.over("amount", p.Mean, **week)).expression == Quotient(Total(total, WEEK), Total(count, WEEK))
    assert isinstance(compiled(shop.over("amount", p.Std, **week)).expression, Deviation)


def test_a_share_is_one_count_over_another(shop: Shop) -> None:
    expected = Quotient(Total(Aggregate("count", where=of_type("purchase"))), Total(Aggregate("count")))
    assert compiled(shop.over(shop.purchased, p.PercentTrue)).expression == expected


def test_a_trend_keeps_five_sums(shop: Shop) -> None:
    plan = compile_features([shop.over(["amount", "timestamp"], p.Trend, where=shop.purchased).rename("wanted")])
    assert isinstance(plan.features[0].expression, Slope)
    assert {slot.kind for slot in plan.of("user").slots} >= {"time_sum", "time_squares", "time_products", "first_time"}


def test_features_share_what_they_need(shop: Shop) -> None:
    names = {"mean": p.Mean, "sum": p.Sum, "std": p.Std}
    plan = compile_features([shop.over("amount", primitive).rename(name) for name, primitive in names.items()])
    assert sorted(map(str, plan.of("user").slots)) == ["count", "last_time", "squares(amount)", "sum(amount)"]


def test_features_of_the_last_values_share_the_longest_list(shop: Shop) -> None:
    last = {f"last_{n}": shop.over(["amount", "timestamp"], own.NthLast(n)) for n in (1, 5, 3)}
    plan = compile_features([feature.rename(name) for name, feature in last.items()])
    assert plan.of("user").slots == (LAST_EVENT, Aggregate("last_values", "amount", parameter=5))


def test_a_half_life_has_tiles_of_an_eighth_of_it(shop: Shop) -> None:
    spend = compiled(shop.over(["amount", "timestamp"], own.DecayedSum("8 days")))
    assert spend.expression == Decayed(Aggregate("sum", "amount"), Window(64 * DAY_US, DAY_US, "half-life of 8 days"))


def test_types(shop: Shop) -> None:
    count, distinct = shop.over("event_id", p.Count), shop.over("product_id", NumUnique, where=shop.purchased)
    assert compiled(count).type == "int"
    assert compiled(count - distinct).type == "int"
    assert compiled(shop.over("quantity", p.Sum)).type == "int"
    assert compiled(shop.over("amount", p.Sum)).type == "float"
    assert compiled(ft.Feature([distinct, count], primitive=Rate)).type == "float"


def test_more_definitions_compile() -> None:
    more = define_more(entity_set())
    # What a group has is lent to others, and is no feature by itself.
    asked = [one.get_name() for one in more if one.dataframe_name not in ("categories", "user_categories")]
    assert sorted(compile_features(more).names) == sorted(asked)


REFUSED: dict[str, tuple[Callable[[Shop], Any], str]] = {
    "median": (lambda s: s.over("amount", p.Median), "the primitive Median has no mergeable form"),
    "windowed last": (lambda s: s.over("amount", p.Last, use_previous="7 days"), "Last keeps nothing per tile"),
    "windowed distinct": (
        lambda s: s.over("product_id", NumUnique, where=s.purchased, use_previous="7 days"),
        "NumUnique keeps nothing per tile",
    ),
    "windowed trend": (
        lambda s: s.over(["amount", "timestamp"], p.Trend, use_previous="7 days"),
        "Trend keeps nothing per tile",
    ),
    "distinct types": (
        lambda s: s.over("event_type", NumUnique, where=s.purchased),
        "declare an entity with the keys event_type, user_id",
    ),
    "distinct of a pair": (
        lambda s: s.over("product_id", NumUnique, "user_products", where=s.purchased),
        "declare an entity with the keys product_id, user_id",
    ),
    "unknown window": (lambda s: s.over("event_id", p.Count, use_previous="3 days"), "is not in WINDOWS"),
    "last n": (
        lambda s: s.over("event_id", p.Count, use_previous=ft.Timedelta(5, "observations")),
        "a window is a length of time, not a number of events",
    ),
    "months": (lambda s: s.over("timestamp", p.TimeSinceLast(unit="months")), "the unit months has no fixed length"),
    "where amount": (
        lambda s: s.over("event_id", p.Count, where=ft.Feature(s.event["amount"]) > 5),
        "is not of the form event_type == '...'",
    ),
    "where no type": (
        lambda s: s.over("event_id", p.Count, where=ft.Feature(s.event["event_type"]) == "refund"),
        "no event has the event_type 'refund'; the event types are view, ",
    ),
    "where nothing": (
        lambda s: s.over("event_id", p.Count, where=s.purchased & (ft.Feature(s.event["event_type"]) == "view")),
        "no event meets the condition",
    ),
    "where not": (
        lambda s: s.over("event_id", p.Count, where=ft.Feature(s.event["event_type"]) != "view"),
        "is not of the form event_type == '...'",
    ),
    "a sum of sums": (lambda s: s.over("amount", p.Sum) + s.over("quantity", p.Sum), "AddNumeric is not supported"),
    "a transform": (
        lambda s: ft.Feature(s.over("amount", p.Sum), primitive=p.Absolute),
        "the transform Absolute is not supported",
    ),
    "borrowed": (
        lambda s: ft.Feature(
            [
                ft.Feature(s.entities["requests"].ww["request_amount"]),
                ft.DirectFeature(s.over("amount", p.Min), "requests"),
            ],
            primitive=Rate,
        ),
        "which is no named feature before it",
    ),
    "plain column": (lambda s: ft.Feature(s.event["amount"]), "it belongs to `events`"),
    "request time": (
        lambda s: ft.Feature(s.entities["requests"].ww["timestamp"]),
        "the plain column `requests.timestamp` is no feature of its own",
    ),
    "a windowed half-life": (
        lambda s: s.over("timestamp", own.DecayedCount(), use_previous="7 days"),
        "DecayedCount has a window of its own, so it has no use_previous",
    ),
    "too many last ones": (
        lambda s: s.over(["amount", "timestamp"], own.NthLast(51)),
        "`n` is a whole number from 1 to 50, not 51",
    ),
    "a half-life of nothing": (
        lambda s: s.over("timestamp", own.DecayedCount("0 days")),
        "a length of time is above 0",
    ),
    "a half-life of words": (lambda s: s.over("timestamp", own.DecayedCount("soon")), "`soon` is no length of time"),
    "sessions of another window": (
        lambda s: s.over("timestamp", own.SessionCount(within=("3 days", "1 day"))),
        "`within` is one of WINDOWS",
    ),
    "a share of labels of a measure": (
        lambda s: s.over("event_type", own.TopShare()),
        "`event_type` is no key or label",
    ),
    "a quantile past all": (lambda s: s.over("amount", own.Quantile(1.5)), "`q` is a share from 0.001 to 1"),
    "a quantile of all digits": (
        lambda s: s.over("amount", own.Quantile(digits=9)),
        "`digits` is a whole number from 1 to 4, not 9",
    ),
    "a prior above 1": (
        lambda s: ft.Feature(
            [s.over("event_id", p.Count), s.over("amount", p.Sum)], primitive=own.SmoothedRate(rate=2)
        ),
        "a prior's rate lies between 0 and 1",
    ),
    "a share of another type": (
        lambda s: s.over(s.purchased, p.PercentTrue, where=ft.Feature(s.event["event_type"]) == "view"),
        "is always 0",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compiled_is_refused_by_name(shop: Shop, case: str) -> None:
    make, reason = REFUSED[case]
    with pytest.raises(DefinitionError, match=re.escape(reason)) as refused:
        compile_features([make(shop).rename("wanted")])
    assert str(refused.value).startswith("feature `wanted` cannot be compiled: ")
    assert "What works: Count, Sum, Mean, Std, Min, Max" in str(refused.value)


def test_two_features_of_one_name_are_refused(shop: Shop) -> None:
    twice = [shop.over("amount", p.Min).rename("n"), shop.over("amount", p.Max).rename("n")]
    with pytest.raises(DefinitionError, match="another feature has this name"):
        compile_features(twice)


def test_two_names_of_one_expression_are_refused_too_where_they_are_the_same_name(shop: Shop) -> None:
    same = [shop.over("amount", p.Min).rename("n"), shop.over("amount", p.Min).rename("n")]
    with pytest.raises(DefinitionError, match="another feature has this name"):
        compile_features(same)


def test_an_alias_that_takes_a_name_is_refused(shop: Shop) -> None:
    """`b` is another name of `a`; a third feature must not take it."""
    features = [
        shop.over("amount", p.Min).rename("a"),
        shop.over("amount", p.Min).rename("b"),
        shop.over("amount", p.Max).rename("b"),
    ]
    with pytest.raises(DefinitionError, match="another feature has this name"):
        compile_features(features)


def test_a_plan_is_read_back_from_json() -> None:
    plan = compile_features(define_more(entity_set()))
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_every_feature_has_words() -> None:
    for feature in compile_features(define_more(entity_set())).features:
        assert re.fullmatch(r"\S.*\.", describe(feature, SHOP)), feature.name


def test_a_formula_tells_expressions_apart() -> None:
    formulas: dict[str, Any] = {}
    for feature in compile_features(define_more(entity_set())).features:
        assert formulas.setdefault(formula(feature.expression), feature.expression) == feature.expression
    assert "Quotient(Total(sum(amount) of purchase), Total(count of purchase))" in formulas
    assert "Total(count of purchase, 7d in tiles of 1 hour)" in formulas
    assert "Extreme(max(amount) of purchase)" in formulas
    assert "OrderValue(orders(order_id) of purchase, idle=1 hour, what=count)" in formulas


def test_hash_and_layout_change_when_they_should(shop: Shop) -> None:
    def plan_of(**features: Any) -> Plan:
        return compile_features([feature.rename(name) for name, feature in features.items()])

    total, mean = shop.over("amount", p.Sum), shop.over("amount", p.Mean)
    base = plan_of(total=total, mean=mean)
    renamed, reordered = plan_of(sum=total, mean=mean), plan_of(mean=mean, total=total)
    wider = plan_of(total=total, mean=mean, least=shop.over("amount", p.Min))
    windowed = plan_of(total=total, mean=mean, week=shop.over("amount", p.Sum, use_previous="7 days"))
    month = plan_of(total=total, mean=mean, week=shop.over("amount", p.Sum, use_previous="24 hours"))
    assert len({plan.hash for plan in (base, renamed, reordered, wider, windowed, month)}) == 6
    assert plan_of(total=total, mean=mean).hash == base.hash

    layouts = {plan.of("user").layout for plan in (base, renamed, reordered)}
    assert len(layouts) == 1, "a state keeps the same under other names"
    assert len({plan.of("user").layout for plan in (base, wider, windowed, month)}) == 4
    assert {plan.of("product").layout for plan in (base, wider, windowed)} == {base.of("product").layout}


def test_the_plan_is_compiled_once_and_again_when_its_sources_differ(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "plan.json"
    plan = load_plan(path)
    assert plan == compile_plan()

    def never(_: object) -> Plan:
        raise AssertionError("it was compiled again")

    monkeypatch.setattr("features.plan.compiler.compile_plan", never)
    assert load_plan(path) == plan
    assert {one.name for one in path.parent.iterdir()} == {"plan.json", "plans"}, "no scratch file stays"

    with monkeypatch.context() as edited:
        edited.setattr(plan_cache, "fingerprint", lambda _: "other sources")
        with pytest.raises(AssertionError, match="compiled again"):
            load_plan(path)
    path.write_text("{")
    with pytest.raises(AssertionError, match="compiled again"):
        load_plan(path)


SLIPS = {
    "def define(:\n": "line {line}: SyntaxError: ",
    "nonsense_name\n": "line {line}: NameError: name 'nonsense_name' is not defined",
    "import no_such_module\n": "line {line}: ModuleNotFoundError: No module named 'no_such_module'",
    "def define(shop):\n    return [][3]\n": "line {next}: IndexError: list index out of range",
}

COMPILE_EACH = """
import importlib, json, pathlib, sys
from data.errors import DefinitionError

file = pathlib.Path("features/definitions.py")
before, told = file.read_text(), []
for slip in json.loads(sys.argv[1]):
    file.write_text(before + "\\n\\n" + slip)
    for name in [name for name in sys.modules if name.split(".")[0] == "features"]:
        del sys.modules[name]
    try:
        importlib.import_module("features.plan.cache").load_plan(pathlib.Path("plan.json"))
    except DefinitionError as error:
        told.append(str(error))
print(json.dumps(told))
"""


@pytest.mark.long
@pytest.mark.integration  # it takes seconds
def test_a_slip_in_the_definitions_is_told_with_its_line(tmp_path: Path) -> None:
    """In a copy of the packages, since the file is one that people edit; by one process, which imports Featuretools."""
    root = Path(plan_cache.__file__).parents[2]
    for package in ("data", "features"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    definitions = tmp_path / "features" / "definitions.py"
    line = len(definitions.read_text().splitlines()) + 3
    command = [sys.executable, "-B", "-c", COMPILE_EACH, json.dumps(list(SLIPS))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    for told, expected in zip(json.loads(done.stdout), SLIPS.values(), strict=True):
        assert told.startswith(f"{definitions}, " + expected.format(line=line, next=line + 1))
        assert "mend it there and run this again" in told


@pytest.mark.parametrize("name", plan_cache.SOURCES)
def test_every_source_of_the_plan_counts(name: str, tmp_path: Path) -> None:
    for source in plan_cache.SOURCES:
        (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / source).write_bytes((Path(plan_cache.__file__).parents[2] / source).read_bytes())
    assert plan_cache.fingerprint(root=tmp_path) == plan_cache.fingerprint()
    (tmp_path / name).write_text("# edited")
    assert plan_cache.fingerprint(root=tmp_path) != plan_cache.fingerprint()


@pytest.mark.integration
def test_what_the_worker_and_the_server_import_is_light() -> None:
    state = ["algebra", "values", "online.states", "fold"]
    modules = ", ".join(["features.plan.plan", "features.plan.cache", *(f"features.state.{one}" for one in state)])
    heavy = "featuretools, pandas, feast, ibis, duckdb, sklearn"
    code = f"import sys, {modules}; print([n for n in {heavy.split(', ')!r} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
