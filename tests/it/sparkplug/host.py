"""A Sparkplug host on pysparkplug: prints what it decodes, one JSON object a line, and gives the
commands that come on standard input. Arguments: broker's port, group, edge node, host id."""

import json
import sys
import time

import pysparkplug as psp

port, group, edge, host_id = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
client = psp.Client(client_id="host-py-" + host_id)


def say(**fields):
    print(json.dumps(fields), flush=True)


def metric(m):
    datatype = "" if m.datatype is None else m.datatype.name
    return {
        "name": m.name,
        "alias": m.alias,
        "type": datatype,
        "value": m.value,
        "at": m.timestamp,
        "historical": m.is_historical,
        "null": m.is_null,
    }


def told(_, message):
    payload, topic = message.payload, message.topic
    metrics = [metric(m) for m in getattr(payload, "metrics", ())]
    if hasattr(payload, "bd_seq_metric"):
        metrics = [metric(payload.bd_seq_metric)]
    say(
        verb=str(topic.message_type.value),
        device=topic.device_id,
        seq=getattr(payload, "seq", None),
        at=payload.timestamp,
        qos=int(message.qos),
        retain=bool(message.retain),
        metrics=metrics,
    )


def state(online, timestamp):
    topic = psp.Topic(message_type=psp.MessageType.STATE, sparkplug_host_id=host_id)
    payload = psp.State(timestamp=timestamp, online=online)
    client.publish(psp.Message(topic=topic, payload=payload, qos=psp.QoS(1), retain=True))


def write(verb, device, name, datatype, value):
    topic = psp.Topic(message_type=verb, group_id=group, edge_node_id=edge, device_id=device)
    now = int(time.time() * 1000)
    one = psp.Metric(timestamp=now, name=name, datatype=datatype, value=value)
    command = psp.NCmd if verb == psp.MessageType.NCMD else psp.DCmd
    payload = command(timestamp=now, metrics=(one,))
    client.publish(
        psp.Message(topic=topic, payload=payload, qos=psp.QoS(0), retain=False),
        include_dtypes=True,
    )


client.connect("127.0.0.1", port=port)
for node_verb in ("NBIRTH", "NDATA", "NDEATH"):
    verb = psp.MessageType(node_verb)
    topic = psp.Topic(message_type=verb, group_id=group, edge_node_id=edge)
    client.subscribe(topic, psp.QoS(1), told)
for device_verb in ("DBIRTH", "DDATA", "DDEATH"):
    verb = psp.MessageType(device_verb)
    topic = psp.Topic(message_type=verb, group_id=group, edge_node_id=edge, device_id="+")
    client.subscribe(topic, psp.QoS(1), told)
time.sleep(0.3)
say(verb="LISTENING")
for line in sys.stdin:
    word = line.split()
    if word[0] == "rebirth":
        boolean = psp.DataType.BOOLEAN
        write(psp.MessageType.NCMD, None, "Node Control/Rebirth", boolean, True)
    elif word[0] == "write":
        write(psp.MessageType.DCMD, word[1], "Verdict/Outcome", psp.DataType.STRING, "Pass")
    elif word[0] in ("online", "offline"):
        state(word[0] == "online", int(word[1]))
