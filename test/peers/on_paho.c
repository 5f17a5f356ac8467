/* A device on Debian's libpaho-mqtt3a, as it is: it reconnects and sends again by itself.
 * Arguments: port, protocol version, user, device, token; lines as test/scenario/clients_test.py
 * says. SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE /* strsep */
#include <MQTTAsync.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { LINE_MAX = 4096, ROOM = 1 << 20, PATIENCE_MS = 20000 };

static MQTTAsync client;
static bool five;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char received[ROOM] = "["; /* the JSON of what came */
static bool first_done;

static void tell(const char *value) {
    printf("{\"value\":%s}\n", value);
    fflush(stdout);
}

static void connected(void *context, MQTTAsync_successData *said) {
    (void)context;
    if (!first_done)
        tell(said->alt.connect.sessionPresent ? "{\"present\":true}" : "{\"present\":false}");
    first_done = true;
}
static void connected5(void *context, MQTTAsync_successData5 *said) {
    (void)context;
    if (!first_done)
        tell(said->alt.connect.sessionPresent ? "{\"present\":true}" : "{\"present\":false}");
    first_done = true;
}
static void refused(void *context, MQTTAsync_failureData *said) {
    (void)context;
    fprintf(stderr, "refused: %d %s\n", said->code, said->message ? said->message : "");
}
static void refused5(void *context, MQTTAsync_failureData5 *said) {
    (void)context;
    fprintf(stderr, "refused: %d %s\n", (int)said->reasonCode, said->message ? said->message : "");
}

static int arrived(void *context, char *topic, int length, MQTTAsync_message *m) {
    (void)context;
    (void)length;
    pthread_mutex_lock(&lock);
    size_t at = strlen(received);
    if (at + strlen(topic) + (size_t)m->payloadlen + 64 < ROOM)
        snprintf(received + at, ROOM - at, "%s{\"topic\":\"%s\",\"item\":%.*s}", at > 1 ? "," : "",
            topic, m->payloadlen, (char *)m->payload);
    pthread_mutex_unlock(&lock);
    MQTTAsync_freeMessage(&m);
    MQTTAsync_free(topic);
    return 1;
}

static int begin(char **argv) {
    MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer;
    MQTTAsync_connectOptions o = MQTTAsync_connectOptions_initializer;
    MQTTAsync_connectOptions o5 = MQTTAsync_connectOptions_initializer5;
    static MQTTProperties properties = MQTTProperties_initializer;
    MQTTProperty keep = {.identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL};
    char address[64];
    snprintf(address, sizeof address, "tcp://127.0.0.1:%s", argv[1]);
    create.sendWhileDisconnected = 1;
    create.MQTTVersion = five ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
    int rc = MQTTAsync_createWithOptions(
        &client, address, argv[4], MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
    if (rc) return rc;
    MQTTAsync_setCallbacks(client, NULL, NULL, arrived, NULL);
    if (five) {
        o = o5;
        o.cleanstart = 0;
        keep.value.integer4 = 86400;
        MQTTProperties_add(&properties, &keep);
        o.connectProperties = &properties;
        o.onSuccess5 = connected5;
        o.onFailure5 = refused5;
    } else {
        o.cleansession = 0;
        o.MQTTVersion = MQTTVERSION_3_1_1;
        o.onSuccess = connected;
        o.onFailure = refused;
    }
    o.username = argv[3];
    o.password = argv[5];
    o.automaticReconnect = 1;
    o.minRetryInterval = o.maxRetryInterval = 1;
    return MQTTAsync_connect(client, &o);
}

/* Until there is a connection, the library keeps what is to be sent. */
static bool completed(MQTTAsync_token token) {
    for (int i = 0; i < PATIENCE_MS / 10; i++) {
        if (MQTTAsync_isComplete(client, token)) return true;
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    }
    return false;
}

static void subscribe(const char *filter, int qos) {
    MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
    int rc = MQTTAsync_subscribe(client, filter, qos, &r);
    tell(rc || !completed(r.token) ? "\"not subscribed\"" : qos == 2 ? "[2]" : "[1]");
}

static void send_to(int qos, const char *topic, const char *payload) {
    MQTTAsync_responseOptions r = MQTTAsync_responseOptions_initializer;
    int rc = MQTTAsync_send(client, topic, (int)strlen(payload), payload, qos, 0, &r);
    tell(rc || !completed(r.token) ? "\"not sent\"" : "\"sent\"");
}

int main(int argc, char **argv) {
    char line[LINE_MAX];
    if (argc != 6) return 2;
    five = strcmp(argv[2], "5") == 0;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        char *rest = line, *act = strsep(&rest, " "), *one = strsep(&rest, " ");
        if (strcmp(act, "connect") == 0) {
            int rc = begin(argv);
            if (rc) return fprintf(stderr, "connect: %d\n", rc), 1;
        } else if (strcmp(act, "subscribe") == 0 && one && rest) {
            subscribe(one, atoi(rest));
        } else if (strcmp(act, "send") == 0 && one && rest) {
            char *topic = strsep(&rest, " ");
            send_to(atoi(one), topic, rest ? rest : "");
        } else if (strcmp(act, "received") == 0) {
            pthread_mutex_lock(&lock);
            printf("{\"value\":%s]}\n", received);
            fflush(stdout);
            pthread_mutex_unlock(&lock);
        }
    }
    MQTTAsync_disconnectOptions d = MQTTAsync_disconnectOptions_initializer,
                                d5 = MQTTAsync_disconnectOptions_initializer5;
    d.timeout = d5.timeout = 1000;
    MQTTAsync_disconnect(client, five ? &d5 : &d);
    for (int i = 0; i < 20 && MQTTAsync_isConnected(client); i++)
        nanosleep(&(struct timespec){0, 50000000}, NULL);
    return 0;
}
