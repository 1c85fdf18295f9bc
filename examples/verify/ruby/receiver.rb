require "openssl"
require "webrick" # gem install webrick, where Ruby does not bring it

KEY = ENV.fetch("WEBHOOK_SECRET").delete_prefix("whsec_").unpack1("m0") # base64
abort "WEBHOOK_SECRET must be the partner's secret: anybody can sign with an empty one" if KEY.empty?
TOLERANCE = 5 * 60 # seconds

def verified?(request, body)
  id, timestamp, signatures = %w[webhook-id webhook-timestamp webhook-signature].map { |name| request[name].to_s }
  return false unless timestamp.match?(/\A\d+\z/) && (Time.now.to_i - timestamp.to_i).abs <= TOLERANCE

  expected = "v1," + [OpenSSL::HMAC.digest("SHA256", KEY, "#{id}.#{timestamp}.#{body}")].pack("m0")
  # During a rotation there are several signatures; one that fits is enough.
  signatures.split.any? { |signature| OpenSSL.secure_compare(expected, signature) }
end

server = WEBrick::HTTPServer.new(BindAddress: "127.0.0.1", Port: ENV.fetch("PORT"), AccessLog: [])
server.mount_proc "/" do |request, response|
  accepted = verified?(request, request.body.to_s)
  # The same webhook-id may come again: remember it, and do the work once.
  response.status = accepted ? 204 : 401
end
trap("TERM") { server.shutdown }
server.start
