"""The playground's files: made from the records, once, and packed for a folder on disk."""

from pathlib import Path

from site_tools import playground_assets

ROOT = Path(__file__).parents[2]


def test_the_page_shows_the_function_that_runs():
    source = playground_assets.function_source(
        ROOT / "docs" / playground_assets.SCRIPTS / "layers.js", "conv2d"
    )
    assert source.startswith("/**\n * Convolution:") and source.endswith("\n}")
    assert "\nfunction conv2d(" in source and source.count("function") == 1


def test_packing_keeps_every_module_and_file(tmp_path):
    scripts, exported = tmp_path / "scripts", tmp_path / "data"
    scripts.mkdir(), exported.mkdir()
    (exported / "a.bin").write_bytes(b"abc")
    (scripts / "base.js").write_text("export const one = 1;\nexport function two() {}\n")
    (scripts / "playground.js").write_text(
        'import {\n  one,\n} from "./base.js";\nimport * as base from "./base.js";\n'
        "one + base.two();\n"
    )
    packed = playground_assets.pack(scripts / "playground.js", exported)
    assert '{"a.bin": "YWJj"}' in packed
    assert packed.index('playgroundModules["base.js"] =') < packed.index("one + base.two()")
    assert "return { one, two };" in packed
    assert 'const base = playgroundModules["base.js"];' in packed
    assert "import" not in packed.split("\n", 1)[1] and "export" not in packed
