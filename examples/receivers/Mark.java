import java.util.*;

/** The highest seq that was handled or is missing, the runs below it that may come late, and what an event did to it. */
class Mark {
    static final int MAX_RUNS = 256;
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
