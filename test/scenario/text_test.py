"""JSON by RFC 8259 and UTF-8 by RFC 3629, case by case, through HTTP and MQTT: what is well formed comes back as it was, what is not is refused by its name and leaves no trace."""
import json, struct

from harness import Server, expect
from lanes import both
from mqtt import CONNACK, CONNECT, DISCONNECT, PUBLISH, SUBSCRIBE, Client, Closed, properties, text

# Values that come back equal. Numbers: RFC 8259, 6; strings: 7.
TAKEN = (b"0", b"-0", b"0.0", b"1", b"-1", b"1e1", b"1E1", b"1e+1", b"1E-1", b"0e1", b"0e+1", b"1.5e3", b"-1.5", b"123.456789", b"1e-400", b"1.7976931348623157e308", b"5e-324",
         b"9007199254740993", b"-9223372036854775808", b"9223372036854775807", b"18446744073709551615", b"0." + b"0" * 400 + b"1", b"true", b"false", b"null",
         b'""', b'"a"', b'"\\"\\\\\\/\\b\\f\\n\\r\\t"', b'"\\u0000"', b'"a\\u0000b"', b'"\\u001f"', b'"\\u0022\\u005C"', b'"\\uD834\\uDD1E"', b'"\\ud83d\\ude00"', b'"\\uDBFF\\uDFFF"', b'"\\u2028"', b'"\\uFFFE\\uFFFF\\uFDD0"',
         b'"\x7f"', b'"\xc2\x80"', b'"\xdf\xbf"', b'"\xe0\xa0\x80"', b'"\xed\x9f\xbf"', b'"\xee\x80\x80"', b'"\xef\xbb\xbf"', b'"\xef\xbf\xbe\xef\xbf\xbf"', b'"\xf0\x90\x80\x80"', b'"\xf4\x8f\xbf\xbf"', b'"\xe2\x80\xa8"',
         b"[]", b"[ ]", b"[[[]]]", b'[1,"a",null,[],{}]', b"[\n1\t,\r2 ]", b"{}", b'{"":0}', b'{"a":{"a":{"a":1}}}', b'{"\\u0000":1}', b'{ "a" : 1 , "b" : 2 }', b'{"\xc3\xa9":"\xc3\xa9"}', b"[" * 60 + b"]" * 60)
REFUSED = (b"+1", b"01", b"-01", b"00", b"1.", b".1", b"-.1", b"1.e1", b"0.e1", b"1e", b"1e+", b"1e1.0", b"1.2.3", b"0x1", b"0o7", b"1_0", b"1 000", b"1,0", b"--1", b"1-1", b"- 1", b"-", b"-a", b"1a", b"1f", b"NaN", b"-NaN",
           b"Infinity", b"-Infinity", b"inf", b"\xef\xbc\x91", b"1e400", b"-1e400", b"tru", b"truee", b"True", b"TRUE", b"nul", b"None", b"undefined",
           b"'a'", b'"a', b'a"', b'"\\"', b'"\\x41"', b'"\\a"', b'"\\0"', b"\"\\'\"", b'"\\u12"', b'"\\u"', b'"\\uXXXX"', b'"\\u00e"', b'"\\U0041"', b'"\t"', b'"\n"', b'"\r"', b'"\0"', b'"\x1f"', b'"\x08"', b'"a" "b"', b'`a`',
           b'"\\ud800"', b'"\\udbff"', b'"\\udc00"', b'"\\udfff"', b'"\\ud800\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800a"', b'"\\ud800\\u0041"', b'"\\ud800\\n"', b'"a\\udc00"', b'{"\\ud800":1}',
           b"[1,]", b"[,1]", b"[,]", b"[1,,2]", b"[1 2]", b"[1;2]", b"[1", b"[1}", b"]", b"[", b'{"a":1,}', b'{,"a":1}', b'{"a":1,,"b":2}', b'{"a"}', b"{a:1}", b"{1:1}", b"{null:1}", b'{"a" 1}', b'{"a"::1}', b'{"a":}', b"{:1}", b'{"a":1 "b":2}',
           b'{"a":1]', b'{"a":1', b"{'a':1}", b'{"a":1/**/}', b"1//", b"#", b"\xc2\xa01", b"\x0b1", b"\x0c1", b"\xe2\x80\x831", b"\0", b"[\x0b1]", b"\x1b", b"*", b"\\u0031", b"[" * 70 + b"]" * 70)
NOT_UTF8 = (b"\x80", b"\xbf", b"\xc0\x80", b"\xc0\xaf", b"\xc1\xbf", b"\xc3", b"\xc3(", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xe2\x82", b"\xe2\x82(", b"\xed\xa0\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xa0\x80\xed\xb0\x80",
            b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf7\xbf\xbf\xbf", b"\xf8\x88\x80\x80\x80", b"\xfc\x84\x80\x80\x80\x80", b"\xfe", b"\xff", b"a\xffb")


def values(s):
    put = lambda text: s.call("PUT", "/v1/users/json", text)
    for value in TAKEN:
        status, answer = put(b'{"metadata":{"a":' + value + b"}}")
        expect(status in (200, 201), True, f"{value[:60]}: {answer}")
        expect(s.call("GET", "/v1/users/json")[1]["metadata"]["a"], json.loads(value), repr(value[:60]))
    before = s.call("GET", "/v1/users/json")
    for value in REFUSED + tuple(b'"' + bad + b'"' for bad in NOT_UTF8) + tuple(b'{"' + bad + b'":1}' for bad in NOT_UTF8):
        for padding in (b"", b" " * 61):  # at another place of the blocks that a parser may work in
            status, answer = put(b'{"metadata":{"a":' + padding + value + b"}}")
            expect((status, isinstance(answer, dict) and answer["type"]), (400, "/problems/malformed"), repr(value[:60]))
    for whole in (b"", b" ", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"\xfe\xff\0{\0}", b"{}\0", b"\0{}", b"{} {}", b"{}\x0c", b"{}]", b"{},", b"\xe2\x81\xa0{}", b"{}\xff", b"{}#", b"{}\x1a", b"{" * 100000, b'{"a":' * 100000,
                  b'{"metadata":{"a":' + b"[" * 100000 + b"]" * 100000 + b"}}"):
        expect(put(whole)[0], 400, repr(whole[:20]))
    for twice in (b'{"name":"a","name":"b"}', b'{"name":"a","na\\u006de":"a"}', b'{"name":null,"name":"a"}'):
        status, answer = put(twice)
        expect((status, answer.get("field")), (400, "name"), "a name twice is nobody's value")
    expect(s.call("GET", "/v1/users/json"), before, "what was refused left no trace")


def messages(s):
    """The same through the message's way: log, tables, kill -9, MQTT."""
    s.call("PUT", "/v1/conversations/ab", {"type": "direct", "members": ["ann", "bob"]})
    c = Client(s.mqtt, "b1", s.token("bob", "b1"), clean=True)
    c.subscribe("users/bob/messages")
    whole = b'{"id":"all","from":"ann","data":{"all":[' + b",".join(TAKEN) + b"]}}"
    expect(s.call("POST", "/v1/conversations/ab/messages", whole)[0], 201)
    want = {"all": [json.loads(v) for v in TAKEN]}
    expect(c.wait(PUBLISH).json()["data"], want, "over MQTT")
    c.socket.close()
    s.kill()
    s.start()
    expect(s.call("GET", "/v1/conversations/ab/messages/all")[1]["data"], want, "after kill -9")
    ann = Client(s.mqtt, "a1", s.token("ann", "a1"), clean=True)
    for value in REFUSED[::7] + (b'"\xff"', b'"\xed\xa0\x80"'):
        ack = ann.publish("conversations/ab/messages", b'{"data":{"a":' + value + b"}}")
        assert ack.reason >= 0x80 and ack.words, f"{value}: {ack.reason}"
    expect(ann.publish("conversations/ab/messages", b'\xef\xbb\xbf{"body":"x"}').reason >= 0x80, True, "no byte order mark")
    expect(ann.publish("conversations/ab/messages", {"id": "last", "body": "x"}).reason, 0, "a refusal ends nothing")
    expect(s.call("GET", "/v1/conversations/ab/messages?after=1")[1]["items"][0]["id"], "last", "nothing of it was stored")
    ann.socket.close()


def ended(c):
    """The reason with which it is ended; None where only the connection ends."""
    try:
        while (p := c.read(5)) is not None:
            if p.kind in (CONNACK, DISCONNECT) and p.reason:
                return p.reason
        raise AssertionError("the connection is open")
    except Closed:
        return None


def mqtt_strings(s):
    """MQTT's strings are UTF-8 without U+0000 and without surrogates (5.0, 1.5.4); the rest is as it is, a byte order mark, too."""
    token = s.token("ann", "a1")
    login = text("user") + text(token)
    hello = lambda props=b"\0", device=b"a1", rest=login: text("MQTT") + b"\5\xc2\0\x3c" + props + text(device) + rest
    for bad in NOT_UTF8 + (b"\0", b"a\0b"):
        for what, body in (("client id", hello(device=bad)), ("user name", hello(rest=text(bad) + text(token))), ("user property", hello(props=b"%c\x26\0\1k" % (4 + 2 + len(bad)) + text(bad)))):
            c = Client(s.mqtt, "", "", connect=False)
            c.send(CONNECT, 0, body)
            assert ended(c) in (None, 0x81, 0x85), (what, bad)
            c.socket.close()
        for what, kind, flags, body in (("topic", PUBLISH, 2, text(b"conversations/" + bad + b"/messages") + b"\0\1\0{}"), ("filter", SUBSCRIBE, 2, b"\0\1\0" + text(b"users/ann/" + bad) + b"\1"),
                                        ("content type", PUBLISH, 2, text("conversations/ab/messages") + b"\0\1%c\3" % (3 + len(bad)) + text(bad) + b"{}"),
                                        ("reason", DISCONNECT, 0, b"\0%c\x1f" % (3 + len(bad)) + text(bad))):
            c = Client(s.mqtt, "a1", token, clean=True)
            c.send(kind, flags, body)
            assert ended(c) in (None, 0x81), (what, bad)
            c.socket.close()
    c = Client(s.mqtt, "a1", token, clean=True)
    for odd in (b"\xef\xbb\xbf", b"\xef\xbf\xbe", b"\x7f", b"\x01", b"\xf4\x8f\xbf\xbf"):
        ack = c.publish(b"conversations/" + odd + b"/messages", b"{}")
        assert ack.reason >= 0x80, f"{odd}: no id has it"
    c.send(DISCONNECT, 0, b"")
    c.socket.close()


def story(s):
    for part in (values, messages, mqtt_strings):
        part(s)


both(story)
