import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;

/**
 * client URL BYTES STREAMS FILE: fetches URL/bytes/BYTES several times at once, then puts the file to URL/upload;
 * prints the SHA-256 of each answer's body, and the last answer.
 *
 * <p>server PORT FILE: GET gives the file, PUT takes anything and answers with its SHA-256.
 */
public class Zoo {
    static String hash(InputStream from) throws Exception {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] piece = new byte[65536];
        for (int read; (read = from.read(piece)) >= 0; ) {
            digest.update(piece, 0, read);
        }
        return HexFormat.of().formatHex(digest.digest());
    }

    static void client(String url, String bytes, int streams, Path file) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        HttpRequest get = HttpRequest.newBuilder(URI.create(url + "/bytes/" + bytes)).build();
        List<CompletableFuture<InputStream>> answers = new ArrayList<>();
        for (int n = 0; n < streams; n++) {
            answers.add(client.sendAsync(get, BodyHandlers.ofInputStream()).thenApply(answer -> answer.body()));
        }
        for (CompletableFuture<InputStream> answer : answers) {
            System.out.println(hash(answer.get()));
        }
        HttpRequest put =
            HttpRequest.newBuilder(URI.create(url + "/upload")).PUT(BodyPublishers.ofFile(file)).build();
        System.out.print(client.send(put, BodyHandlers.ofString()).body());
    }

    static void answer(HttpExchange exchange, Path file) throws Exception {
        byte[] content = null;
        long length = Files.size(file);
        if (exchange.getRequestMethod().equals("PUT")) {
            content = (hash(exchange.getRequestBody()) + "\n").getBytes();
            length = content.length;
        }
        exchange.sendResponseHeaders(200, length);
        try (OutputStream body = exchange.getResponseBody()) {
            if (content == null) {
                Files.copy(file, body);
            } else {
                body.write(content);
            }
        }
    }

    static void server(int port, Path file) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress("0.0.0.0", port), 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/", exchange -> {
            try {
                answer(exchange, file);
            } catch (Exception error) {
                error.printStackTrace();
            }
        });
        server.start();
    }

    public static void main(String[] words) throws Exception {
        if (words.length == 5 && words[0].equals("client")) {
            client(words[1], words[2], Integer.parseInt(words[3]), Path.of(words[4]));
            System.exit(0);
        } else if (words.length == 3 && words[0].equals("server")) {
            server(Integer.parseInt(words[1]), Path.of(words[2]));
        } else {
            System.err.println("client URL BYTES STREAMS FILE, or server PORT FILE");
            System.exit(2);
        }
    }
}
