import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import pg from "pg";

async function endCall(client, userId, callId, outcome, fail) {
  await client.query("begin");
  try {
    await client.query("insert into calls (id, status) values ($1, $2)", [callId, outcome.status]);
    // json and not jsonb: partners get the payload as it is written here, and jsonb would rewrite it.
    const { rows } = await client.query(
      "select enqueue_call_outcome_webhook($1, $2, $3::json) as delivery_id",
      [userId, callId, JSON.stringify(outcome)],
    );
    if (fail) throw new Error("failing before the commit");
    await client.query("commit");
    return rows.map((row) => row.delivery_id);
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
}

// --fail fails before the commit; --count ends so many calls, and prints when each was committed.
const { values } = parseArgs({ options: { fail: { type: "boolean" }, count: { type: "string" } } });
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
try {
  for (let i = 0; i < Number(values.count ?? 1); i++) {
    const callId = `call_${randomUUID()}`;
    const outcome = { event_type: "call.completed", call_id: callId, status: "completed", agent: "Zoë" };
    const deliveryIds = await endCall(client, "user_123", callId, outcome, values.fail);
    const committedAt = values.count ? [Date.now() / 1000] : [];
    for (const deliveryId of deliveryIds) console.log(deliveryId, ...committedAt);
    if (values.count) await sleep(50);
  }
} finally {
  await client.end();
}
