# Verify a chain by the store of Ruby's OpenSSL.
# Arguments: server or client, leaf, issuers, root, lists or "", seconds or 0.

require "openssl"

def parts(name, kind)
  File.read(name).scan(/-----BEGIN #{kind}-----.*?-----END #{kind}-----/m)
end

def certificates(name)
  parts(name, "CERTIFICATE").map { |pem| OpenSSL::X509::Certificate.new(pem) }
end

purpose, leaf, above, root, lists, seconds = ARGV
store = OpenSSL::X509::Store.new
certificates(root).each { |certificate| store.add_cert(certificate) }
store.purpose = OpenSSL::X509.const_get("PURPOSE_SSL_#{purpose.upcase}")
if lists.empty?
  # The root of this chain is a CA certificate that another one has signed.
  store.flags = OpenSSL::X509::V_FLAG_PARTIAL_CHAIN
else
  parts(lists, "X509 CRL").each { |pem| store.add_crl(OpenSSL::X509::CRL.new(pem)) }
  store.flags = OpenSSL::X509::V_FLAG_CRL_CHECK | OpenSSL::X509::V_FLAG_CRL_CHECK_ALL
end
store.time = Time.at(seconds.to_i) if seconds.to_i > 0
accepted = store.verify(certificates(leaf).first, certificates(above))
puts accepted ? "accepted" : store.error_string
