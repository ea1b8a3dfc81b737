import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;

/** For each key on standard input (hexadecimal, one a line) the partition that Java's producer chooses. */
public final class Murmur2 {
    public static void main(String[] arguments) throws IOException {
        int partitions = Integer.parseInt(arguments[0]);
        HexFormat hex = HexFormat.of();
        BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder output = new StringBuilder();
        for (String line = input.readLine(); line != null; line = input.readLine()) {
            output.append(BuiltInPartitioner.partitionForKey(hex.parseHex(line), partitions)).append('\n');
        }
        System.out.print(output);
    }
}
