import com.sun.net.httpserver.*;
import java.io.*;
import java.net.InetSocketAddress;
import java.nio.file.*;
import java.security.*;
import java.security.spec.X509EncodedKeySpec;
import java.util.*;
import java.util.concurrent.Executors;
import java.util.regex.*;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import static java.nio.charset.StandardCharsets.*;

/** Receives a Hookline server's events: verifies them, handles each once and in the order of its stream, and knows what is missing.
 *  <pre>WEBHOOK_SECRETS="whsec_… whpk_…" java Receiver.java 9000 state.properties</pre>
 *  with the hook.on_* URLs of the server set to http://127.0.0.1:9000/. Java 17 or later, nothing else. Marks and effects are in one
 *  file that is replaced as a whole, so they agree whenever the process is killed. That costs as much as the file is long: with more
 *  than some hundred streams take a database, with marks and effects in one transaction.
 *  "Receiver.java check FILE" says which vectors of event/testdata/webhook-signatures.json are authentic. */
public class Receiver {
    static final int BODY_LIMIT = 4 << 20, MAX_RUNS = 256;
    static PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, UTF_8);
    static Properties state = new Properties();

    /** What is asked gets an answer of its own. A question that is not here is refused. */
    static String decide(String type, Map<?, ?> body) {
        return switch (type) {
            case "on_publish", "on_play", "on_server_keepalive" -> "{\"code\":0}";
            case "on_stream_none_reader" -> "{\"code\":0,\"close\":false}";
            default -> "{\"code\":-1,\"msg\":\"no handler\"}";
        };
    }

    /** Your effects: changes of next, which is written with the mark. Here it has what is live. */
    static void handle(Properties next, Map<?, ?> event, Map<?, ?> body, boolean late) {
        if (late) return; // its state is not the present one
        Object stream = event.get("stream"), publication = event.get("publication"), type = event.get("type");
        if (type.equals("on_stream_changed") && body.get("regist").equals(true)) next.put("live " + stream, publication);
        if (type.equals("on_publication_ended")) next.remove("live " + stream, publication);
    }

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

    /** The highest seq that was handled or is missing, the runs below it that may come late, and what an event did to it. */
    static class Mark {
        long epoch, seq;
        boolean late;
        TreeMap<Long, Long> unseen = new TreeMap<>(); // from, to
        List<String> gaps = new ArrayList<>();

        Mark(String text) {
            long[] f = Arrays.stream(text.split(" ")).mapToLong(Long::parseLong).toArray();
            epoch = f[0];
            seq = f[1];
            for (int i = 2; i < f.length; i += 2) unseen.put(f[i], f[i + 1]);
        }

        public String toString() { return epoch + " " + seq + unseen.toString().replaceAll("[^0-9]+", " ").stripTrailing(); }

        void skip(long to) {
            if (to > seq) unseen.put(unseen.isEmpty() || unseen.lastEntry().getValue() != seq ? seq + 1 : unseen.lastKey(), to);
            if (unseen.size() > MAX_RUNS) unseen.pollFirstEntry();
            seq = Math.max(seq, to);
        }

        boolean take(long n) {
            Map.Entry<Long, Long> r = unseen.floorEntry(n);
            if (r == null || r.getValue() < n) return false; // a duplicate
            unseen.remove(r.getKey());
            if (r.getKey() < n) unseen.put(r.getKey(), n - 1);
            if (r.getValue() > n) unseen.put(n + 1, r.getValue());
            return true;
        }

        /** Moves the mark, and says whether to handle the event. */
        boolean advance(Map<?, ?> event, Map<?, ?> body) {
            long e = (long) event.get("epoch");
            boolean fresh = e > epoch, notice = event.get("type").equals("on_event_gap");
            if (e < epoch) return false; // of a journal that is no more
            if (fresh) { epoch = e; seq = 0; unseen.clear(); }
            for (Object o : notice ? List.of(body) : event.get("gap") instanceof List<?> list ? list : List.of()) {
                Map<?, ?> g = (Map<?, ?>) o;
                if ((long) g.get("to") <= seq) continue;
                gaps.add(Math.max((long) g.get("from"), seq + 1) + " " + g.get("to") + " " + g.get("reason"));
                skip((long) g.get("to"));
            }
            if (notice) return false;
            long n = (long) event.get("seq"), prev = (long) event.get("prev");
            late = n <= seq || event.containsKey("late");
            if (n <= seq) return take(n);
            if (!late && prev > seq && !fresh) gaps.add(seq + 1 + " " + prev + " missed");
            skip(late ? n - 1 : prev);
            seq = n;
            return true;
        }
    }

    /** Handles an event, one after the other: the order of a stream is the order of its requests. */
    static synchronized String receive(Map<?, ?> body, Path file) throws IOException {
        Map<?, ?> event = (Map<?, ?>) body.get("event");
        String type = (String) event.get("type"), stream = (String) event.get("stream"), source = (String) event.get("source");
        if (!event.containsKey("seq") && !type.equals("on_event_gap")) return decide(type, body);
        if (event.containsKey("replay")) return "{\"code\":0}"; // somebody looks at the past
        Properties next = (Properties) state.clone(); // if anything fails, nothing has happened
        String name = "mark " + source.length() + source + stream;
        Mark m = new Mark(next.getProperty(name, "0 0"));
        boolean wanted = m.advance(event, body);
        if (wanted) handle(next, event, body, m.late);
        next.put(name, m.toString());
        Path copy = file.resolveSibling(file.getFileName() + ".new");
        try (FileOutputStream f = new FileOutputStream(copy.toFile())) {
            next.store(f, null);
            f.getFD().sync();
        }
        Files.move(copy, file, StandardCopyOption.ATOMIC_MOVE);
        state = next;
        for (String gap : m.gaps) out.println("gap " + stream + " " + gap);
        if (wanted) out.println("handled " + stream + " " + event.get("epoch") + " " + event.get("seq") + " " + type + (m.late ? " late" : ""));
        return "{\"code\":0}";
    }

    static void serve(HttpExchange x, List<String> keys, Path file) throws IOException {
        int status = 500;
        String answer = "{\"code\":-1}";
        try {
            byte[] raw = x.getRequestBody().readNBytes(BODY_LIMIT + 1);
            String now = System.getenv("WEBHOOK_TEST_NOW"); // vectors have a clock of their own
            Headers h = x.getRequestHeaders();
            if (raw.length > BODY_LIMIT) status = 413;
            else if (!authentic(h.getFirst("webhook-id"), h.getFirst("webhook-timestamp"), h.getFirst("webhook-signature"), raw, keys,
                now == null ? System.currentTimeMillis() / 1e3 : Double.parseDouble(now), 300)) status = 401;
            else {
                status = 400;
                Map<?, ?> body = (Map<?, ?>) Json.parse(new String(raw, UTF_8));
                Map<?, ?> e = (Map<?, ?>) body.get("event");
                if (!(e.get("epoch") instanceof Long) || !List.of("source", "stream", "type").stream().allMatch(k -> e.get(k) instanceof String))
                    throw new IllegalArgumentException("no event");
                status = 500; // what fails now comes again
                answer = receive(body, file);
                status = 200;
            }
        } catch (Exception | StackOverflowError e) {
            System.err.println(e);
        } finally {
            byte[] raw = answer.getBytes(UTF_8);
            x.getResponseHeaders().set("Content-Type", "application/json");
            x.sendResponseHeaders(status, raw.length);
            x.getResponseBody().write(raw);
            x.close();
        }
    }

    /** The library of Java has no JSON. */
    record Json(Matcher m) {
        static final Pattern TOKEN = Pattern.compile("\\G\\s*([\\[\\]{}:,]|\"(?:[^\"\\\\]++|\\\\.)*+\"|-?[0-9][0-9.eE+-]*|true|false|null)\\s*");

        static Object parse(String s) {
            Json j = new Json(TOKEN.matcher(s));
            Object v = j.value(j.token());
            if (j.m.end() != s.length()) throw new IllegalArgumentException("more than one value");
            return v;
        }

        String token() {
            if (!m.find()) throw new IllegalArgumentException("no JSON");
            return m.group(1);
        }

        Object value(String t) {
            char c = t.charAt(0), end = c == '{' ? '}' : ']';
            if (c == '"') return text(t);
            if (t.equals("null")) return null;
            if (c == 't' || c == 'f') return c == 't';
            if (c != '{' && c != '[') return t.matches("-?[0-9]+") ? (Object) Long.valueOf(t) : (Object) Double.valueOf(t);
            Map<String, Object> map = new HashMap<>();
            List<Object> list = new ArrayList<>();
            for (t = token(); t.charAt(0) != end; t = token()) {
                if (t.equals(",")) t = token();
                if (c == '[') list.add(value(t));
                else if (token().equals(":")) map.put(text(t), value(token()));
            }
            return c == '{' ? map : list;
        }

        static String text(String t) {
            return Pattern.compile("\\\\(?:u([0-9a-fA-F]{4})|(.))").matcher(t.substring(1, t.length() - 1)).replaceAll(r -> Matcher.quoteReplacement(
                r.group(1) != null ? (char) Integer.parseInt(r.group(1), 16) + "" : r.group(2).equals("/") ? "/" : r.group().translateEscapes()));
        }
    }

    public static void main(String[] args) throws Exception {
        if (args[0].equals("check")) {
            for (Object o : (List<?>) ((Map<?, ?>) Json.parse(Files.readString(Path.of(args[1])))).get("verify")) {
                Map<?, ?> v = (Map<?, ?>) o, h = (Map<?, ?>) v.get("headers");
                boolean good = authentic(h.get("webhook-id"), h.get("webhook-timestamp"), h.get("webhook-signature"), ((String) v.get("body")).getBytes(UTF_8),
                    (List<?>) v.get("keys"), (long) v.get("now"), (long) v.get("tolerance_seconds"));
                out.println((good ? "ok " : "refused ") + v.get("name"));
            }
            return;
        }
        Path file = Path.of(args[1]).toAbsolutePath();
        if (Files.exists(file)) try (InputStream in = Files.newInputStream(file)) { state.load(in); }
        List<String> keys = List.of(System.getenv("WEBHOOK_SECRETS").split("\\s+"));
        System.setProperty("sun.net.httpserver.nodelay", "true");
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0])), 0);
        server.createContext("/", x -> serve(x, keys, file));
        server.setExecutor(Executors.newFixedThreadPool(16));
        server.start();
        out.println("listening on 127.0.0.1:" + server.getAddress().getPort());
    }
}
