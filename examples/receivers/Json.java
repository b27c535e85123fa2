import java.util.*;
import java.util.regex.*;

/** Reads JSON, which the library of Java does not: objects are maps, arrays lists, whole numbers Long, others Double. */
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
