// Verify a chain by the JDK alone.
// Arguments: checker, bare or off (revocation), server or client, leaf, issuers, root, seconds or 0.

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509CertSelector;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Set;

public final class PkixVerifier {
  private static final String SERVER = "1.3.6.1.5.5.7.3.1";
  private static final String CLIENT = "1.3.6.1.5.5.7.3.2";

  public static void main(String[] arguments) throws Exception {
    String revocation = arguments[0];
    String purpose = arguments[1].equals("client") ? CLIENT : SERVER;
    List<Certificate> chain = new ArrayList<>(read(arguments[2]));
    chain.addAll(read(arguments[3]));
    X509Certificate root = (X509Certificate) read(arguments[4]).get(0);
    PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(root, null)));
    X509CertSelector leaf = new X509CertSelector();
    leaf.setExtendedKeyUsage(Set.of(purpose));
    parameters.setTargetCertConstraints(leaf);
    long seconds = Long.parseLong(arguments[5]);
    if (seconds > 0) {
      parameters.setDate(new Date(seconds * 1000));
    }
    CertPathValidator validator = CertPathValidator.getInstance("PKIX");
    if (revocation.equals("checker")) {
      parameters.addCertPathChecker((PKIXRevocationChecker) validator.getRevocationChecker());
    } else if (revocation.equals("off")) {
      parameters.setRevocationEnabled(false);
    }
    CertPath path = CertificateFactory.getInstance("X.509").generateCertPath(chain);
    try {
      validator.validate(path, parameters);
      System.out.println("accepted");
    } catch (CertPathValidatorException error) {
      System.out.println(error.getReason() + ": " + error.getMessage());
    }
  }

  private static List<Certificate> read(String name) throws IOException, GeneralSecurityException {
    try (InputStream file = Files.newInputStream(Path.of(name))) {
      return List.copyOf(CertificateFactory.getInstance("X.509").generateCertificates(file));
    }
  }
}
