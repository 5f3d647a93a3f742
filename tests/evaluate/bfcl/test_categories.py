"""Names of categories: each release's own, and what the other calls them."""

import pytest

from toolrest.errors import InputError
from toolrest.evaluate.bfcl.categories import choose


@pytest.mark.parametrize(
    ("release", "name", "here"),
    [
        ("v4", "simple", "simple_python"),
        ("v4", "java", "simple_java"),
        ("v4", "javascript", "simple_javascript"),
        ("v3", "simple_python", "simple"),
        ("v3", "simple_java", "java"),
        ("v3", "simple_javascript", "javascript"),
    ],
)
def test_a_name_of_another_release_is_told_in_this_ones(release, name, here):
    with pytest.raises(InputError, match=f"calls it {here!r}"):
        choose([name], release)
    assert choose([here], release) == [here]


def test_a_name_of_none_gets_the_nearest():
    with pytest.raises(InputError, match="did you mean 'multiple'"):
        choose(["multipel"], "v4")
