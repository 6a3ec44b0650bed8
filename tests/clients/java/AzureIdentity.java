import com.azure.core.credential.AccessToken;
import com.azure.core.credential.TokenCredential;
import com.azure.core.credential.TokenRequestContext;
import com.azure.identity.DefaultAzureCredentialBuilder;
import com.azure.identity.ManagedIdentityCredentialBuilder;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;

/** Gets tokens by azure-identity: cases as JSON on stdin, their results as one line of JSON. */
public final class AzureIdentity {
    private static final ObjectMapper JSON = new ObjectMapper();

    private AzureIdentity() {
    }

    public static void main(String[] arguments) throws IOException {
        ArrayNode outcomes = JSON.createArrayNode();
        for (JsonNode one : JSON.readTree(System.in)) {
            outcomes.add(outcome(one));
        }
        System.out.println(JSON.writeValueAsString(outcomes));
        // Threads of its transport linger for two seconds.
        System.exit(0);
    }

    private static ObjectNode outcome(JsonNode one) {
        ObjectNode result = JSON.createObjectNode();
        TokenRequestContext wish =
            new TokenRequestContext().addScopes(one.get("resource").asText() + "/.default");
        try {
            TokenCredential credential = credential(one);
            AccessToken got = credential.getTokenSync(wish);
            AccessToken again = credential.getTokenSync(wish);
            result.put("token", got.getToken());
            result.put("expires_s", got.getExpiresAt().toEpochSecond());
            result.put("again", again.getToken().equals(got.getToken()));
        } catch (RuntimeException error) {
            result.put("error", error.getClass().getSimpleName());
            result.put("message", messages(error));
        }
        return result;
    }

    private static TokenCredential credential(JsonNode one) {
        if (one.get("kind").asText().equals("default")) {
            return new DefaultAzureCredentialBuilder().maxRetry(0).build();
        }
        ManagedIdentityCredentialBuilder builder = new ManagedIdentityCredentialBuilder().maxRetry(0);
        String value = one.get("value").asText();
        switch (one.get("by").asText()) {
            case "client" -> builder.clientId(value);
            case "object" -> builder.objectId(value);
            case "resource" -> builder.resourceId(value);
            default -> { }
        }
        return builder.build();
    }

    /** Returns the messages of an error and its causes. */
    private static String messages(Throwable error) {
        StringBuilder all = new StringBuilder();
        for (Throwable one = error; one != null; one = one.getCause()) {
            all.append(one.getMessage()).append('\n');
        }
        return all.toString();
    }
}
