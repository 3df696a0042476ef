// A Sparkplug decoder on the npm packages sparkplug-payload and mqtt, as sparkplug-client uses
// them: prints what it decodes, one JSON object a line. "rebirth" on standard input asks for one.
// Arguments: broker's port, group, edge node.
"use strict";
const mqtt = require("mqtt");
const codec = require("sparkplug-payload").get("spBv1.0");
const wire = require("sparkplug-payload/lib/sparkplugPayloadProto").org.eclipse.tahu.protobuf.Payload;

const [port, group, edge] = process.argv.slice(2);
const say = (fields) => process.stdout.write(JSON.stringify(fields) + "\n");
const client = mqtt.connect(`mqtt://127.0.0.1:${port}`, { clientId: "host-js", reconnectPeriod: 100 });
// Long integers of the decoder as numbers; absent and null alike as null.
const plain = (value) => {
  if (value === undefined || value === null) return null;
  return typeof value === "object" && "toNumber" in value ? value.toNumber() : value;
};

client.on("connect", () => {
  client.subscribe([`spBv1.0/${group}/+/${edge}`, `spBv1.0/${group}/+/${edge}/+`], { qos: 1 }, () =>
    say({ verb: "LISTENING" }),
  );
});
// Data leaves out names and datatypes; a host knows them from the births.
const births = new Map();
function decode(verb, bytes) {
  const payload = wire.decode(bytes);
  for (const metric of payload.metrics.filter((m) => Object.hasOwn(m, "alias"))) {
    const alias = plain(metric.alias);
    if (verb.endsWith("BIRTH")) births.set(alias, { name: metric.name, datatype: metric.datatype });
    else if (births.has(alias)) Object.assign(metric, births.get(alias));
  }
  return codec.decodePayload(wire.encode(payload).finish());
}

client.on("message", (topic, bytes, packet) => {
  const [, , verb, , device] = topic.split("/");
  if (verb === "NCMD" || verb === "DCMD") return;
  const payload = decode(verb, bytes);
  const metrics = (payload.metrics || []).map((m) => ({
    name: m.name || null,
    alias: plain(m.alias),
    type: m.type || null,
    value: plain(m.value),
    at: plain(m.timestamp),
    historical: m.isHistorical || false,
    null: m.isNull || false,
    unit: m.properties && m.properties.engUnit ? m.properties.engUnit.value : null,
  }));
  say({
    verb,
    device: device || null,
    seq: plain(payload.seq),
    at: plain(payload.timestamp),
    qos: packet.qos,
    retain: packet.retain,
    metrics,
  });
});
require("readline")
  .createInterface({ input: process.stdin })
  .on("line", (line) => {
    if (line.trim() !== "rebirth") return;
    const metric = { name: "Node Control/Rebirth", type: "Boolean", value: true };
    const payload = codec.encodePayload({ timestamp: Date.now(), metrics: [metric] });
    client.publish(`spBv1.0/${group}/NCMD/${edge}`, payload);
  });
