"""File names: any bytes except slash and zero."""

from hypothesis import strategies as st

SUFFIXES = (b".png", b".PNG", b".jpg", b".gif", b".bmp", b".tiff", b".webp")
LONGEST = 255
"""The length in bytes of the longest file name on Linux."""

# Parts that often break programs: invalid UTF-8, terminal escapes, line ends, markup, emoji codes, options, dots, marks
# of the writing direction, Unicode normal forms, format strings, globs, addresses, names of outputs.
PIECES = (
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\xfe\xff",
    b"\\xff",
    b"\\",
    b"\x1b[31m",
    b"\x1b]0;title\x07",
    b"\n",
    b"\r",
    b"\t",
    b"\x7f",
    b"\xc2\x85",
    b"\xc2\x9b31m",
    b"\xe2\x80\xa8",
    b"\xe2\x80\xae",
    b"\xe2\x80\x8b",
    b"\xef\xbb\xbf",
    b"[red]",
    b"[/]",
    b"[link=x]",
    b":cross_mark:",
    b"nosuch:x",
    b"-",
    b"--out",
    b"--help",
    b".",
    b"..",
    b" ",
    b"\xc3\xa9",
    b"e\xcc\x81",
    b"\xf0\x9f\x98\x80",
    b"\xd7\xa9\xd7\x9c",
    b"%s%n",
    b"{0}",
    b"$HOME",
    b"`id`",
    b"'",
    b'"',
    b",",
    b";",
    b"*",
    b"?",
    b"~",
    b"#",
    b"=1+1",
    b"s3:",
    b"noise:uniform",
    b"CON",
    b"0",
    b"part-00000.parquet",
    b"_measurement.json",
    b"x.partial",
    b"y" * 120,
)


def _is_name(name: bytes) -> bool:
    return 0 < len(name) <= LONGEST and name not in (b".", b"..") and b"/" not in name and b"\0" not in name


_any_bytes = st.binary(min_size=1, max_size=6).map(lambda name: name.replace(b"/", b"").replace(b"\0", b""))
_pieces = st.lists(st.sampled_from(PIECES) | _any_bytes | st.sampled_from([b"a", b"b7"]), min_size=1, max_size=3)
plain = st.sampled_from([b"a", b"b", b"cat", b"7"])

names = (plain | _pieces.map(b"".join)).filter(_is_name)
image_names = st.builds(bytes.__add__, plain | _pieces.map(b"".join), st.sampled_from(SUFFIXES)).filter(_is_name)
