import pytest
from hypothesis import given
from hypothesis import strategies as st

from domainlm import recipes
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Recipe


def load(*overrides: str) -> Recipe:
    return recipes.load("demo", overrides)


@pytest.mark.parametrize("name", sorted(recipes.built_in()))
def test_every_built_in_recipe_holds_and_round_trips(name: str, tmp_path) -> None:
    loaded = recipes.load(name, ["source.path=somewhere"])
    path = tmp_path / "again.toml"
    path.write_text(recipes.dump(loaded))
    assert recipes.load(str(path)) == loaded


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sorce.path=x", "sorce: unknown key; did you mean source?"),
        ("source.pth=x", "source.pth: unknown key; did you mean source.path?"),
        ("train.0.tokns=3", "train.0.tokns: unknown key; did you mean train.0.tokens?"),
        ("evaluate.gate=[{gap='a-b', mx=1}]", "evaluate.gate.0.mx: unknown key; did you mean"),
        ("tokens.vocabulary=many", "tokens.vocabulary: input should be a valid integer"),
        ("split.unseen=2", "split.unseen: input should be less than 1"),
        ("train.0.name=stock", 'the name "stock" is taken'),
        ("train.1.name=scratch", "two arms have the same name"),
        ("train.0.init=stock", "exactly one of model"),
        ("source={kind='files'}", "source.path: give the corpus"),
    ],
)
def test_a_fault_is_one_line_with_its_key(override: str, expected: str) -> None:
    with pytest.raises(DomainLMError) as caught:
        load(override)
    assert caught.value.exit_code == USAGE
    assert expected in str(caught.value)


def test_every_fault_has_its_own_line() -> None:
    with pytest.raises(DomainLMError) as caught:
        load("source.pth=x", "split.unseen=2", "tokens.vocabulary=many")
    assert len(caught.value.what.splitlines()) == 4


def test_setting_one_budget_replaces_the_other() -> None:
    arm = load("train.0.minutes=3").train[0]
    assert (arm.minutes, arm.tokens) == (3, None)


def test_setting_one_cut_replaces_the_other() -> None:
    split = load("split.cut=2022-01-01").split
    assert (str(split.cut), split.newest) == ("2022-01-01", None)


@pytest.mark.parametrize(
    "override", ["train.7.tokens=1", "train.x.tokens=1", "name.x=1", "novalue"]
)
def test_an_impossible_place_is_a_usage_error(override: str) -> None:
    with pytest.raises(DomainLMError) as caught:
        load(override)
    assert caught.value.exit_code == USAGE


def test_an_unknown_recipe_gets_a_did_you_mean() -> None:
    with pytest.raises(DomainLMError, match="no recipe 'demmo'") as caught:
        recipes.load("demmo")
    assert "did you mean 'demo'" in str(caught.value)
    with pytest.raises(DomainLMError, match="no recipe 'nothing'"):
        recipes.load("nothing")


@given(st.text(alphabet=st.characters(exclude_characters='"\\', exclude_categories=["C"])))
def test_a_string_survives_set(text: str) -> None:
    given_path = f"p{text}"
    assert load(f'source.path="{given_path}"').source.path == given_path
