import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.concurrent.TimeUnit;
import net.spy.memcached.DefaultConnectionFactory;
import net.spy.memcached.DefaultHashAlgorithm;
import net.spy.memcached.KetamaNodeKeyFormatter;
import net.spy.memcached.KetamaNodeLocator;
import net.spy.memcached.MemcachedClient;
import net.spy.memcached.MemcachedNode;
import net.spy.memcached.NodeLocator;

/**
 * spymemcached over the daemons whose addresses are the arguments, for pools.py: a line "store KEY..." or "fetch KEY..." on
 * standard input is answered by a line with a letter for each key: s(tored), h(it), m(iss) or e(rror).
 */
public class Pool {
    /** spymemcached's ketama, with the names libmemcached gives to points of the circle, so that both find the same daemon. */
    static class Ketama extends DefaultConnectionFactory {
        @Override
        public NodeLocator createLocator(List<MemcachedNode> nodes) {
            return new KetamaNodeLocator(nodes, DefaultHashAlgorithm.KETAMA_HASH,
                    KetamaNodeKeyFormatter.Format.LIBMEMCACHED, new HashMap<>());
        }

        @Override
        public long getOperationTimeout() {
            return 3000;
        }

        @Override
        public long getMaxReconnectDelay() {
            return 1;
        }
    }

    /** An address that is called what it is written as, not what the resolver says: the name goes into the circle. */
    static InetSocketAddress address(String written) throws Exception {
        String[] parts = written.split(":");
        InetAddress host = InetAddress.getByAddress(parts[0], InetAddress.getByName(parts[0]).getAddress());
        return new InetSocketAddress(host, Integer.parseInt(parts[1]));
    }

    public static void main(String[] arguments) throws Exception {
        List<InetSocketAddress> addresses = new ArrayList<>();
        for (String written : arguments) {
            addresses.add(address(written));
        }
        MemcachedClient client = new MemcachedClient(new Ketama(), addresses);
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            String[] words = line.split(" ");
            StringBuilder answer = new StringBuilder();
            for (int index = 1; index < words.length; index++) {
                answer.append(one(client, words[0], words[index]));
            }
            System.out.println(answer);
        }
        client.shutdown();
    }

    static char one(MemcachedClient client, String verb, String key) {
        try {
            if (verb.equals("store")) {
                return client.set(key, 0, key).get(3, TimeUnit.SECONDS) ? 's' : 'e';
            }
            Object value = client.get(key);
            return value == null ? 'm' : value.equals(key) ? 'h' : 'e';
        } catch (Exception broken) {
            return 'e';
        }
    }
}
