from pathlib import Path

from agent.config import table
from agent.config.settings import RETIRED, TABLE, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_documentation_holds_the_table_as_it_is():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert table.markdown() in text, "replace the tables in docs/settings.md by: codedeploy-agent settings --markdown"


def test_every_key_is_in_the_table():
    text = table.markdown()
    assert [key for key in (*TABLE, *RETIRED) if f"| `{key}` |" not in text] == []


def test_values_that_differ_from_the_default_are_marked():
    text = table.text(Settings(max_revisions=2))
    assert "* max_revisions: 2\n" in text
    assert "  verbose: false\n" in text
