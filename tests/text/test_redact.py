import pytest

from agent.text.redact import redacted_url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://proxy:3128", "http://proxy:3128"),
        ("http://joe:hunter2@proxy:3128", "http://joe:***@proxy:3128"),
        ("joe:hunter2@proxy:3128", "joe:***@proxy:3128"),
        ("http://token@proxy", "http://***@proxy"),
        ("http://joe:hun@ter2@proxy", "http://joe:***@proxy"),
        ("http://joe:hun ter/2@proxy", "http://joe:***@proxy"),
        ("http://a:hunter2@c http://u:hunter2@d", "http://a:***@d"),
        ("", ""),
    ],
)
def test_no_password_of_a_url_is_shown(text, shown):
    assert redacted_url(text) == shown
