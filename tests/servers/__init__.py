"""Real servers for tests on loopback: Apache Kafka and Apicurio Registry from Maven, RabbitMQ from Debian.

`fetch` gets their archives and checks them; `process` runs a program that can't outlive its owner;
`kafka`, `apicurio` and `rabbitmq` are the servers; `shared` keeps one of each for all test processes of a checkout;
`reading` reads topics to their end; `murmur2` asks Java where a key belongs.

``python -m tests.servers up`` keeps the shared ones running between test runs, ``down`` ends that.
"""
