require "json"
require "pg"
require "securerandom"

def end_call(connection, user_id, call_id, outcome, fail: false)
  connection.transaction do
    connection.exec_params("insert into calls (id, status) values ($1, $2)", [call_id, outcome[:status]])
    # json and not jsonb: partners get the payload as it is written here, and jsonb would rewrite it.
    deliveries = connection.exec_params(
      "select enqueue_call_outcome_webhook($1, $2, $3::json)", [user_id, call_id, JSON.generate(outcome)]
    )
    raise "failing before the commit" if fail

    deliveries.column_values(0)
  end
end

connection = PG.connect(ENV.fetch("DATABASE_URL"))
call_id = "call_#{SecureRandom.uuid}"
outcome = { event_type: "call.completed", call_id: call_id, status: "completed", agent: "Zoë" }
puts end_call(connection, "user_123", call_id, outcome, fail: ARGV.include?("--fail"))
connection.close
