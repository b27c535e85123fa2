import com.sun.net.httpserver.*;
import java.io.*;
import java.net.InetSocketAddress;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.Executors;
import static java.nio.charset.StandardCharsets.UTF_8;

/** Receives a Hookline server's events: verifies them, handles each once and in the order of its stream, and knows what is missing.
 *  <pre>javac -d out *.java
 *  WEBHOOK_SECRETS="whsec_… whpk_…" java -cp out Receiver 9000 state.properties</pre>
 *  with the hook.on_* URLs of the server set to http://127.0.0.1:9000/. Java 17 or later, nothing else. Marks and effects are in one
 *  file that is replaced as a whole, so they agree whenever the process is killed. That costs as much as the file is long: with more
 *  than some hundred streams take a database, with marks and effects in one transaction.
 *  Webhook.java, Mark.java and Json.java are parts to use again. */
public class Receiver {
    static final int BODY_LIMIT = 4 << 20;
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
            else if (!Webhook.authentic(h.getFirst("webhook-id"), h.getFirst("webhook-timestamp"), h.getFirst("webhook-signature"), raw, keys,
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

    public static void main(String[] args) throws Exception {
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
