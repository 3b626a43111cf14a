from __future__ import annotations

import pytest

from agent.text.yaml_tree import ListNode, MapNode, Node, ScalarNode
from yaml_format import FORMAT, read

MAX_DEPTH, MAX_NODES = FORMAT.max_depth, FORMAT.max_nodes


def plain(node: Node | None) -> object:
    if isinstance(node, MapNode):
        return {text: plain(value) for text, (_, value) in node.entries.items()}
    if isinstance(node, ListNode):
        return [plain(item) for item in node.items]
    return node.text if isinstance(node, ScalarNode) else None


def tree(text: str) -> object:
    return plain(read(text)[0])


def error_of(text: str) -> str:
    root, problems = read(text)
    assert root is None
    return str(problems[-1])


def warnings_of(text: str) -> list[str]:
    root, problems = read(text)
    assert root is not None
    return [str(problem) for problem in problems]


def test_texts_lists_and_maps_keep_their_words():
    assert tree("a: [1, 'b', 2020-01-01 10:00:00]\nc: {d: ~, e: }\n") == {
        "a": ["1", "b", "2020-01-01 10:00:00"],
        "c": {"d": "~", "e": ""},
    }


def test_quotes_and_the_text_tag_make_a_value_a_text():
    root, _ = read("a: 1\nb: '1'\nc: !!str 1\nd: |\n  1\ne: !foo 1\n")
    assert isinstance(root, MapNode)
    kinds = [value.plain for _, value in root.entries.values() if isinstance(value, ScalarNode)]
    assert kinds == [True, False, False, False, True]


@pytest.mark.parametrize("tag", ["!foo", "!ruby/object:Gem", "!!python/object/apply:os.system", "!<tag:x,2000:y>"])
def test_custom_tags_are_ignored(tag):
    assert tree(f"a: {tag} b\nc: {tag} [d]\n") == {"a": "b", "c": ["d"]}


def test_aliases_stand_for_what_they_repeat():
    assert tree("a: &x [1, &y 2]\nb: *x\nc: *y\n*y : d\n") == {"a": ["1", "2"], "b": ["1", "2"], "c": "2", "2": "d"}


def test_an_anchor_given_twice_is_the_later_one_from_then_on():
    assert tree("a: &x 1\nb: *x\nc: &x 2\nd: *x\n") == {"a": "1", "b": "1", "c": "2", "d": "2"}


def test_merge_keys_fill_in_what_the_map_does_not_say():
    text = "base: &b {p: 1, q: 2}\nmore: &m {q: 3, r: 4}\none:\n  <<: *b\n  p: 9\ntwo:\n  q: 8\n  <<: [*m, *b]\n"
    root = tree(text)
    assert isinstance(root, dict)
    assert root["one"] == {"p": "9", "q": "2"}
    assert root["two"] == {"q": "8", "r": "4", "p": "1"}


def test_a_quoted_merge_key_is_a_key():
    assert tree("a: {'<<': 1}") == {"a": {"<<": "1"}}


@pytest.mark.parametrize("value", ["1", "[1]", "[[]]"])
def test_a_merge_key_needs_maps(value):
    assert "merge key" in error_of(f"a:\n  <<: {value}\n")


def test_an_alias_without_anchor_is_named_with_its_line():
    message = error_of("a: 1\nb: *nope\n")
    assert message.startswith("f:2:4: ")
    assert "*nope repeats nothing" in message


def test_an_alias_inside_its_own_value_is_refused():
    assert "inside the value" in error_of("a: &x [1, *x]\n")
    assert "inside the value" in error_of("a: &x 1\nb: &x {c: *x}\n")


def test_of_duplicate_keys_the_last_counts_with_a_warning():
    assert tree("a: 1\nb: 2\na: 3\n") == {"a": "3", "b": "2"}
    (warning,) = warnings_of("a: 1\nb: 2\na: 3\n")
    assert warning.startswith("f:3:1: ")
    assert "line 1" in warning


def test_a_key_that_is_a_list_is_ignored_with_a_warning():
    assert tree("? [a]\n: 1\nb: 2\n") == {"b": "2"}
    assert len(warnings_of("? [a]\n: 1\nb: 2\n")) == 1


@pytest.mark.parametrize("rest", ["---\nb: 2\n", "---\n{broken\n", "...\n}\n"])
def test_only_the_first_document_counts_and_the_rest_is_warned_of(rest):
    assert tree(f"a: 1\n{rest}") == {"a": "1"}
    assert "first YAML document" in warnings_of(f"a: 1\n{rest}")[0]


def test_an_end_mark_alone_is_no_second_document():
    assert warnings_of("---\na: 1\n...\n") == []


def test_depth_is_limited_and_the_limit_itself_is_allowed():
    assert tree("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert f"{MAX_DEPTH} deep" in error_of("[" * (MAX_DEPTH + 1))


def test_the_number_of_values_is_limited_and_the_limit_itself_is_allowed():
    assert len(tree("[" + "a," * (MAX_NODES - 1) + "]")) == MAX_NODES - 1  # type: ignore[arg-type]
    assert f"{MAX_NODES} values" in error_of("[" + "a," * MAX_NODES + "]")


def test_an_alias_counts_as_much_as_it_repeats():
    ten = "a: &a [" + "x," * 9 + "]\n"
    enough = MAX_NODES // 10
    assert f"{MAX_NODES} values" in error_of(ten + "b: [" + "*a," * enough + "]\n")
    assert tree(ten + "b: [" + "*a," * (enough - 2) + "]\n")


def test_an_alias_bomb_is_refused_at_its_fuse():
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 30)]
    assert f"{MAX_NODES} values" in error_of("\n".join(lines))


def test_a_chain_of_merges_is_refused_before_it_grows():
    lines = ["a0: &a0 {" + ",".join(f"k{n}: v" for n in range(100)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: *a{n - 1}}}" for n in range(1, 500)]
    assert f"{MAX_NODES} values" in error_of("\n".join(lines))


def test_places_count_lines_and_columns():
    root, _ = read("a:\n  - b: 'c'\n")
    assert isinstance(root, MapNode)
    items = root.entries["a"][1]
    assert isinstance(items, ListNode)
    inner = items.items[0]
    assert isinstance(inner, MapNode)
    key, value = inner.entries["b"]
    assert [(node.line, node.column) for node in (items, inner, key, value)] == [(1, 2), (1, 4), (1, 4), (1, 7)]


def test_the_pure_python_parser_reads_the_same(monkeypatch):
    import yaml

    text = "a: &x [1, 'b', {c: ~}]\nd: *x\ne: |\n  text\n"
    with_library = tree(text)
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    assert tree(text) == with_library
