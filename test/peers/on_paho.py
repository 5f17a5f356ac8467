"""A device on pip paho-mqtt, 1.6 or 2.x, as it is: it reconnects and sends again by itself.
Arguments: port, protocol version, user, device, token; lines as test/scenario/clients_test.py says."""
import json, os, queue, sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

port, version, user, device, token = sys.argv[1:]
connected, subscribed, published, received = queue.Queue(), queue.Queue(), queue.Queue(), []
five = version == "5"


def tell(value):
    print(json.dumps({"value": value}), flush=True)


def on_connect(client, userdata, flags, reason, properties=None):
    connected.put(flags["session present"] if isinstance(flags, dict) else flags.session_present)


def on_message(client, userdata, message):
    received.append({"topic": message.topic, "item": json.loads(message.payload)})


def on_subscribe(client, userdata, packet, codes, properties=None):
    subscribed.put([int(getattr(c, "value", c)) for c in codes])


def on_publish(client, userdata, packet, *more):
    published.put(packet)


options = {"client_id": device, "protocol": mqtt.MQTTv5 if five else mqtt.MQTTv311}
if os.environ.get("PEER_TRANSPORT") == "ws":
    options["transport"] = "websockets"  # at /mqtt, as it does by itself
if not five:
    options["clean_session"] = False
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, **options) if hasattr(mqtt, "CallbackAPIVersion") else mqtt.Client(**options)
client.on_connect, client.on_message, client.on_subscribe, client.on_publish = on_connect, on_message, on_subscribe, on_publish
client.username_pw_set(user, token)
client.reconnect_delay_set(1, 1)
for line in sys.stdin:
    act, *rest = line.rstrip("\n").split(" ", 3)
    if act == "connect":
        more = {}
        if five:
            keep = Properties(PacketTypes.CONNECT)
            keep.SessionExpiryInterval = 86400
            more = {"clean_start": False, "properties": keep}
        client.connect("127.0.0.1", int(port), **more)
        client.loop_start()
        tell({"present": bool(connected.get(timeout=20))})
    elif act == "subscribe":
        client.subscribe(rest[0], int(rest[1]))
        tell(subscribed.get(timeout=20))
    elif act == "send":
        sent = client.publish(rest[1], rest[2], int(rest[0])).mid  # without a connection it is kept until there is one
        while published.get(timeout=20) != sent:
            pass
        tell("sent")
    elif act == "received":
        tell(received)
client.disconnect()
client.loop_stop()
