from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.feedback import language_model as module
from ccai_dagster.feedback.language_model import Group, common_beginning, shared_prefixes


def groups(sequences: list[str], unshared: int = 1) -> set[tuple[int, frozenset[int]]]:
    tokens = [[ord(letter) for letter in sequence] for sequence in sequences]
    found = shared_prefixes(tokens, [unshared] * len(tokens))
    return {(group.prefix, frozenset(group.members)) for group in found}


def test_pairs_share_more_than_all_do_or_all_share_more_than_pairs() -> None:
    # All share 2 tokens (6 saved), the pairs 8 each (16 saved).
    four = ["xxaaaaaa1", "xxbbbbbb1", "xxaaaaaa2", "xxbbbbbb2"]
    assert groups(four) == {(8, frozenset({0, 2})), (8, frozenset({1, 3}))}
    # All share 6 (18 saved), the pairs 7 each (14 saved).
    assert groups(["xxxxxxa1", "xxxxxxb1", "xxxxxxa2", "xxxxxxb2"]) == {(6, frozenset(range(4)))}


def test_what_a_result_is_read_from_is_not_shared() -> None:
    assert groups(["aaaaaaaa", "aaaaaaaa"]) == {(7, frozenset({0, 1}))}
    assert groups(["aaaaaaaa", "aaaaaaaab"], unshared=3) == {(5, frozenset({0, 1}))}


def test_little_in_common_is_not_worth_a_second_pass() -> None:
    alone = {(0, frozenset({0})), (0, frozenset({1}))}
    assert groups(["xabcdefghi", "xjklmnopqr"]) == alone
    assert groups(["abcdefghij", "klmnopqrst"]) == alone
    assert groups([]) == set()
    assert groups(["a"]) == {(0, frozenset({0}))}


@given(st.lists(st.text("ab", min_size=1, max_size=8), max_size=9), st.integers(1, 3), st.randoms())
def test_every_sequence_is_in_one_group_and_shares_its_prefix(
    sequences: list[str], unshared: int, chance: object
) -> None:
    found = groups(sequences, min([unshared, *map(len, sequences)]))
    assert sorted(index for _, members in found for index in members) == list(range(len(sequences)))
    for prefix, members in found:
        assert len({sequences[index][:prefix] for index in members}) == 1
        assert all(prefix < len(sequences[index]) for index in members)


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=5), min_size=1, max_size=6))
def test_no_other_grouping_saves_more(sequences: list[list[int]]) -> None:
    def best(indexes: list[int], depth: int) -> int:
        """Try a shared prefix of each length for everything below it."""
        branches: dict[int, list[int]] = {}
        for index in indexes:
            if len(sequences[index]) > depth + 1:
                branches.setdefault(sequences[index][depth], []).append(index)
        return max(depth * (len(indexes) - 1), sum(best(own, depth + 1) for own in branches.values()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "LEAST_SAVED", 0.0)
        found = shared_prefixes(sequences, [1] * len(sequences))
    assert sum(group.prefix * (len(group.members) - 1) for group in found) == best(list(range(len(sequences))), 0)


def test_what_all_begin_with_is_found_where_it_pays() -> None:
    def common(*sequences: str, unshared: int = 1) -> int:
        return common_beginning([[ord(letter) for letter in each] for each in sequences], [unshared] * len(sequences))

    assert common("aaaaab", "aaaac", "aaaaad") == 4
    assert common("aaaa", "aaaa") == 3
    assert common("aaaa", "aaaa", unshared=2) == 2
    # Two of 20 tokens saved are too few, and one sequence shares nothing.
    assert common("aabcdefghi", "aajklmnopq") == 0
    assert common("aaaa") == common() == 0
    assert common("ab", "cd") == 0


@given(st.lists(st.text("ab", min_size=2, max_size=8), min_size=2, max_size=6))
def test_a_common_beginning_is_one(sequences: list[str]) -> None:
    common = common_beginning([[ord(letter) for letter in each] for each in sequences], [1] * len(sequences))
    assert len({each[:common] for each in sequences}) == 1
    assert all(common < len(each) for each in sequences)


def test_a_long_chain_of_prefixes_is_no_trouble() -> None:
    chain = [[1] * length + [2] for length in range(1, 1500)]
    assert sum(len(group.members) for group in shared_prefixes(chain, [1] * len(chain))) == len(chain)
    assert isinstance(shared_prefixes([[1, 2]], [1])[0], Group)
