import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Random;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.AddrUtil;
import net.spy.memcached.CASResponse;
import net.spy.memcached.CASValue;
import net.spy.memcached.ConnectionFactoryBuilder;
import net.spy.memcached.ConnectionFactoryBuilder.Protocol;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.auth.AuthDescriptor;
import net.spy.memcached.auth.PlainCallbackHandler;

/**
 * spymemcached against one daemon, for protocols.py: "Checks text|binary ADDRESS", then, to log in, "USER PASSWORD" and, if the
 * daemon is asked first which mechanisms it has, "ask". Exit code: 0 if all is as expected, 2 if not even a first set is
 * answered, which a wrong password must lead to.
 */
public class Checks {
    public static void main(String[] arguments) throws Exception {
        boolean binary = arguments[0].equals("binary");
        ConnectionFactoryBuilder builder = new ConnectionFactoryBuilder()
                .setProtocol(binary ? Protocol.BINARY : Protocol.TEXT).setOpTimeout(10_000).setDaemon(true);
        if (arguments.length > 2) {
            String[] mechanisms = arguments.length > 4 ? null : new String[] {"PLAIN"};
            builder.setAuthDescriptor(
                    new AuthDescriptor(mechanisms, new PlainCallbackHandler(arguments[2], arguments[3])));
        }
        List<InetSocketAddress> addresses = AddrUtil.getAddresses(Arrays.asList(arguments[1]));
        MemcachedClient client = new MemcachedClient(builder.build(), addresses);
        try {
            if (!client.set("first", 0, "x").get(3, TimeUnit.SECONDS)) {
                System.exit(2);
            }
        } catch (Exception refused) {
            System.out.println(refused);
            System.exit(2);
        }
        stores(client);
        numbers(client);
        lifetimes(client, binary);
        manyAtOnce(client);
        equal(client.getVersions().size(), 1, "versions");
        equal(client.getStats().values().iterator().next().containsKey("cmd_get"), true, "stats");
        yes(client.flush(), "flush");
        equal(client.get("first"), null, "get after flush");
        client.shutdown();
    }

    static void stores(MemcachedClient client) throws Exception {
        for (int length : new int[] {0, 1, 1000, 100 * 1024, 1024 * 1024 - 512}) {
            byte[] value = new byte[length];
            // Such bytes are not made shorter by the client's compression.
            new Random(length).nextBytes(value);
            yes(client.set("bytes" + length, 0, value), "set of " + length);
            equal(Arrays.equals((byte[]) client.get("bytes" + length), value), true, "get of " + length);
        }
        equal(client.get("none"), null, "get of nothing");
        no(client.add("first", 0, "y"), "add to something");
        yes(client.add("new", 0, "a"), "add");
        yes(client.replace("new", 0, "b"), "replace");
        no(client.replace("none", 0, "b"), "replace of nothing");
        yes(client.append("new", ">"), "append");
        yes(client.prepend("new", "<"), "prepend");
        equal(client.get("new"), "<b>", "get after append and prepend");
        no(client.append("none", ">"), "append to nothing");

        CASValue<Object> seen = client.gets("new");
        equal(seen.getValue(), "<b>", "gets");
        equal(client.cas("new", seen.getCas() + 1, "c"), CASResponse.EXISTS, "cas with another number");
        equal(client.cas("new", seen.getCas(), "c"), CASResponse.OK, "cas");
        equal(client.cas("new", seen.getCas(), "d"), CASResponse.EXISTS, "cas again");
        equal(client.cas("none", seen.getCas(), "d"), CASResponse.NOT_FOUND, "cas of nothing");
        equal(client.get("new"), "c", "get after cas");

        yes(client.delete("new"), "delete");
        no(client.delete("new"), "delete of nothing");
        equal(client.get("new"), null, "get after delete");
    }

    static void numbers(MemcachedClient client) throws Exception {
        equal(client.incr("number", 5), -1L, "incr of nothing");
        equal(client.incr("number", 5, 10), 10L, "incr, which makes the number");
        equal(client.incr("number", 5, 10), 15L, "incr");
        equal(client.decr("number", 6), 9L, "decr");
        equal(client.decr("number", 100), 0L, "decr below nothing");
        equal(client.decr("other", 1, 7, 1000), 7L, "decr, which makes the number with a lifetime");
        yes(client.set("number", 0, "18446744073709551615"), "set of the largest number");
        equal(client.incr("number", 1), 0L, "incr beyond the largest number");
    }

    static void lifetimes(MemcachedClient client, boolean binary) throws Exception {
        yes(client.touch("first", 1000), "touch");
        no(client.touch("none", 1000), "touch of nothing");
        if (binary) {
            // As text this client does not have it.
            equal(client.getAndTouch("first", 2000).getValue(), "x", "get and touch");
            equal(client.getAndTouch("none", 2000), null, "get and touch of nothing");
        }
        // A moment in the past.
        yes(client.set("late", 60 * 60 * 24 * 31, "x"), "set, expired");
        equal(client.get("late"), null, "get of something expired");
        yes(client.set("soon", 1000, "x"), "set with a lifetime");
        equal(client.get("soon"), "x", "get of something with a lifetime");
    }

    /** The client puts what is under way into packets without answers, where it can. */
    static void manyAtOnce(MemcachedClient client) throws Exception {
        List<Future<Boolean>> stored = new ArrayList<>();
        Map<String, Object> everything = new HashMap<>();
        for (int index = 0; index < 5000; index++) {
            everything.put("many" + index, "value" + index);
            stored.add(client.set("many" + index, 0, "value" + index));
        }
        for (Future<Boolean> each : stored) {
            yes(each, "set of many");
        }
        List<String> keys = new ArrayList<>(everything.keySet());
        keys.add(keys.size() / 2, "none");
        equal(client.getBulk(keys), everything, "get of many");
        List<Future<Object>> read = new ArrayList<>();
        for (String key : keys) {
            read.add(client.asyncGet(key));
        }
        for (int index = 0; index < keys.size(); index++) {
            equal(read.get(index).get(), everything.get(keys.get(index)), "get of one of many");
        }
    }

    static void yes(Future<Boolean> answer, String what) throws Exception {
        equal(answer.get(), true, what);
    }

    static void no(Future<Boolean> answer, String what) throws Exception {
        equal(answer.get(), false, what);
    }

    static void equal(Object got, Object expected, String what) {
        if (!Objects.equals(got, expected)) {
            System.out.println(what + ": got " + got + ", expected " + expected);
            System.exit(1);
        }
    }
}
