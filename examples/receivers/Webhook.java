import java.io.*;
import java.nio.file.*;
import java.security.*;
import java.security.spec.X509EncodedKeySpec;
import java.util.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import static java.nio.charset.StandardCharsets.UTF_8;

/** Signatures of Standard Webhooks. */
class Webhook {
    /** Standard Webhooks 1.0.0, v1 and v1a, over the bytes of the body as they came. */
    static boolean authentic(Object id, Object stamp, Object given, byte[] body, List<?> keys, double now, double tolerance) throws Exception {
        if (!(id + "").matches("[!-\\-/-~]{1,256}") || !(stamp + "").matches("0|[1-9][0-9]{0,10}") || id == null || given == null) return false;
        String[] signatures = given.toString().split(" ", -1);
        if (Math.abs(now - Long.parseLong(stamp + "")) > tolerance || given.toString().length() > 4096 || signatures.length > 16) return false;
        byte[] signed = join((id + "." + stamp + ".").getBytes(UTF_8), body);
        boolean good = false;
        for (Object key : keys) {
            byte[] raw = Base64.getDecoder().decode(key.toString().replaceFirst("^wh(sec|pk)_", ""));
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(raw, "HmacSHA256"));
            String want = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(signed));
            for (String s : signatures) {
                if (!key.toString().startsWith("whpk_")) good |= MessageDigest.isEqual(s.getBytes(UTF_8), want.getBytes(UTF_8));
                else if (s.matches("v1a,[A-Za-z0-9+/]{85}[AQgw]==")) good |= verify(raw, signed, Base64.getDecoder().decode(s.substring(4)));
            }
        }
        return good;
    }

    static boolean verify(byte[] key, byte[] signed, byte[] signature) throws Exception {
        Signature v = Signature.getInstance("Ed25519");
        byte[] der = join(HexFormat.of().parseHex("302a300506032b6570032100"), key);
        v.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(der)));
        v.update(signed);
        try { return v.verify(signature); } catch (SignatureException e) { return false; }
    }

    static byte[] join(byte[] a, byte[] b) {
        byte[] c = Arrays.copyOf(a, a.length + b.length);
        System.arraycopy(b, 0, c, a.length, b.length);
        return c;
    }

    /** Says which vectors of event/testdata/webhook-signatures.json are authentic. */
    public static void main(String[] args) throws Exception {
        for (Object o : (List<?>) ((Map<?, ?>) Json.parse(Files.readString(Path.of(args[0])))).get("verify")) {
            Map<?, ?> v = (Map<?, ?>) o, h = (Map<?, ?>) v.get("headers");
            boolean good = authentic(h.get("webhook-id"), h.get("webhook-timestamp"), h.get("webhook-signature"), ((String) v.get("body")).getBytes(UTF_8),
                (List<?>) v.get("keys"), (long) v.get("now"), (long) v.get("tolerance_seconds"));
            new PrintStream(new FileOutputStream(FileDescriptor.out), true, UTF_8).println((good ? "ok " : "refused ") + v.get("name"));
        }
    }
}
