// A service that verifies attested documents.

import com.fasterxml.jackson.databind.ObjectMapper;
import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.Signature;
import java.security.cert.*;
import java.time.OffsetDateTime;
import java.time.format.DateTimeFormatter;
import java.util.*;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateConverter;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.SignerInformation;

public final class VerifyingService {
  static final ObjectMapper JSON = new ObjectMapper();
  static final DateTimeFormatter TIME = DateTimeFormatter.ofPattern("MM/dd/yy HH:mm:ss xx");
  static final Set<TrustAnchor> ROOTS = new HashSet<>();
  static final List<X509Certificate> ISSUERS = new ArrayList<>();

  /** Return the payload of a document, or throw the reason to refuse it. */
  static byte[] verified(byte[] body, String nonce, String vmId) throws Exception {
    String text = JSON.readTree(body).path("signature").asText();
    CMSSignedData envelope = new CMSSignedData(Base64.getDecoder().decode(text));
    SignerInformation info = envelope.getSignerInfos().iterator().next();
    X509CertificateHolder holder =
        (X509CertificateHolder) envelope.getCertificates().getMatches(info.getSID()).iterator().next();
    X509Certificate signer = new JcaX509CertificateConverter().getCertificate(holder);
    byte[] content = (byte[]) envelope.getSignedContent().getContent();
    // Bouncy Castle does not know the digest that Azure names, so the JDK checks the signature.
    Signature signature = Signature.getInstance("SHA256withRSA");
    signature.initVerify(signer);
    signature.update(content);
    if (info.getSignedAttributes() != null || !signature.verify(info.getSignature())) {
      throw new GeneralSecurityException("the signature does not fit");
    }
    X509CertSelector leaf = new X509CertSelector();
    leaf.setCertificate(signer);
    leaf.addSubjectAlternativeName(2, "metadata.azure.com");
    leaf.setExtendedKeyUsage(Set.of("1.3.6.1.5.5.7.3.1")); // that of a server
    PKIXBuilderParameters parameters = new PKIXBuilderParameters(ROOTS, leaf);
    parameters.addCertStore(
        CertStore.getInstance("Collection", new CollectionCertStoreParameters(ISSUERS)));
    CertPathBuilder builder = CertPathBuilder.getInstance("PKIX");
    // It asks OCSP first, then CRLs. Without it, the parameters alone ask neither and refuse.
    parameters.addCertPathChecker((PKIXRevocationChecker) builder.getRevocationChecker());
    builder.build(parameters);
    var payload = JSON.readTree(content);
    String expires = payload.path("timeStamp").path("expiresOn").asText();
    if (!payload.path("nonce").asText().equals(nonce)
        || !payload.path("vmId").asText().equals(vmId)
        || OffsetDateTime.parse(expires, TIME).isBefore(OffsetDateTime.now())) {
      throw new GeneralSecurityException("another nonce, another VM, or expired");
    }
    return content;
  }

  static void verify(HttpExchange exchange) throws java.io.IOException {
    try (exchange) {
      byte[] answer;
      int status = 200;
      try {
        Map<String, String> query = new HashMap<>();
        for (String pair : exchange.getRequestURI().getQuery().split("&")) {
          String[] parts = pair.split("=", 2);
          query.put(parts[0], parts[1]);
        }
        byte[] body = exchange.getRequestBody().readNBytes(1 << 16);
        answer = verified(body, query.get("nonce"), query.get("vmId"));
      } catch (Exception error) {
        status = 403;
        answer = error.toString().getBytes();
      }
      exchange.sendResponseHeaders(status, answer.length);
      exchange.getResponseBody().write(answer);
    }
  }

  public static void main(String[] arguments) throws Exception {
    try (var file = Files.newInputStream(Path.of("trust.pem"))) {
      for (var one : CertificateFactory.getInstance("X.509").generateCertificates(file)) {
        X509Certificate certificate = (X509Certificate) one;
        if (certificate.getSubjectX500Principal().equals(certificate.getIssuerX500Principal())) {
          ROOTS.add(new TrustAnchor(certificate, null));
        } else {
          ISSUERS.add(certificate);
        }
      }
    }
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 8180), 0);
    server.createContext("/verify", VerifyingService::verify);
    server.start();
    System.out.println("ready");
  }
}
