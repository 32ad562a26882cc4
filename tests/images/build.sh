#!/bin/sh
# Makes Docker images of real servers on a machine that cannot pull any: from Debian's packages, Maven artefacts and
# a Go module. See README.md beside this file.
set -eu

usage() {
    cat <<'END'
Usage: tests/images/build.sh [--force] [--prefix NAME]

Makes NAME/redis:7, NAME/kafka:4.1 and NAME/mongo:7 (NAME: ackscope-offline). An image that is there is left alone; one
that was made earlier is loaded from the cache. --force makes them anew.

Needs root, a running Docker engine and, for what has to be made, debootstrap, a JDK with jlink (17 or newer), Maven and Go.
END
}

say() { printf '%s\n' "images: $*" >&2; }
fail() { say "$@"; exit 3; }
have() { command -v "$1" >/dev/null 2>&1; }

force=
prefix=ackscope-offline
while [ $# -gt 0 ]; do
    case $1 in
        --force) force=1 ;;
        --prefix) prefix=${2:?--prefix needs a name}; shift ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
    shift
done

cache=${XDG_CACHE_HOME:-$HOME/.cache}/ackscope/images
debian_release=bookworm
# DocumentDB, the extension MongoDB's protocol is served from, is in newer releases only.
document_release=forky
ferretdb=v2.7.0
kafka=4.1.0

# What is mounted at the moment, and must not stay so.
mounted=
unmount() {
    [ -z "$mounted" ] || umount "$mounted/proc" "$mounted/dev" 2>/dev/null || true
    mounted=
}
trap unmount EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

need() {
    for tool in "$@"; do
        have "$tool" || missing="${missing:-} $tool"
    done
    [ -z "${missing:-}" ] || fail "these are missing:$missing (Debian: apt-get install debootstrap default-jdk-headless maven golang)"
    [ "$(id -u)" = 0 ] || fail "making images needs root (debootstrap and chroot)"
}

# The mirror this machine is set up with, which may be the only one it reaches.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Component: main' | grep -v security | head -n 1
}

is_there() { docker image inspect "$prefix/$1" >/dev/null 2>&1; }

# Where a finished image is kept: under its name and the hash of this script, which is all that goes into it.
file_name() { printf '%s' "$prefix-$1" | tr ':/' '--'; }
saved() { echo "$cache/$(file_name "$1")-$(sha256sum "$0" | cut -c1-16).tar"; }

# provide IMAGE FUNCTION: the image is there afterwards, in the fastest way.
provide() {
    if [ -z "$force" ]; then
        ! is_there "$1" || return 0
        [ ! -f "$(saved "$1")" ] || ! docker load --quiet --input "$(saved "$1")" >&2 || return 0
    fi
    say "making $prefix/$1"
    "$2" >&2
    # Old ones are of other versions of this script.
    find "$cache" -maxdepth 1 -name "$(file_name "$1")-*.tar" -exec rm -f {} +
    # Into place at once or not at all. Without it only the next machine start takes longer.
    if docker save --output "$cache/new.$$" "$prefix/$1"; then
        mv "$cache/new.$$" "$(saved "$1")"
    else
        rm -f "$cache/new.$$"
        say "$1 could not be kept for the next time"
    fi
}

# --- Debian with Redis ----------------------------------------------------------------------------------------

# What Redis and Kafka stand on; once for both.
base() {
    [ -z "${base_made:-}" ] || return 0
    base_made=1
    [ -n "$force" ] || ! is_there "base:$debian_release" || return 0
    say "making $prefix/base:$debian_release"
    need debootstrap
    rm -rf "$work/base"
    debootstrap --variant=minbase --include=ca-certificates,redis-server "$debian_release" "$work/base" "$(mirror)" >"$work/base.log" ||
        fail "debootstrap failed; $work/base.log says why"
    tar -C "$work/base" --numeric-owner -c . | docker import - "$prefix/base:$debian_release" >/dev/null
    rm -rf "$work/base"
}

redis() {
    base
    docker build --quiet --tag "$prefix/redis:7" - <<END
FROM $prefix/base:$debian_release
EXPOSE 6379
CMD ["redis-server", "--protected-mode", "no", "--bind", "0.0.0.0", "--save", "", "--appendonly", "yes"]
END
}

# --- Kafka ----------------------------------------------------------------------------------------------------

kafka() {
    need mvn jlink
    base
    folder=$work/kafka
    mkdir -p "$folder"
    cat >"$folder/pom.xml" <<END
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ackscope</groupId><artifactId>kafka-image</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$kafka</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$kafka</version></dependency>
  </dependencies>
</project>
END
    (cd "$folder" && mvn -q dependency:copy-dependencies -DoutputDirectory=libs) || fail "Maven could not fetch Kafka $kafka"
    # Only the parts of Java that Kafka uses: a tenth of the whole.
    modules=java.base,java.logging,java.management,java.naming,java.xml,java.sql,java.desktop,java.rmi
    modules=$modules,java.security.jgss,java.security.sasl,jdk.crypto.ec,jdk.management,jdk.unsupported
    rm -rf "$folder/jre"
    jlink --add-modules "$modules" --strip-debug --no-man-pages --no-header-files --compress=2 --output "$folder/jre" ||
        fail "jlink could not make a small Java"
    cat >"$folder/start" <<'END'
#!/bin/sh
# As in the official image, every variable KAFKA_A_B becomes the property a.b. The last value of a property counts.
set -e
properties=/tmp/server.properties
{
    cat <<'DEFAULTS'
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:9093
listeners=PLAINTEXT://0.0.0.0:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=/data
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
DEFAULTS
    env | sed -n 's/^KAFKA_\([A-Z_]*\)=/\1=/p' | while IFS='=' read -r name value; do
        printf '%s=%s\n' "$(echo "$name" | tr 'A-Z_' 'a-z.')" "$value"
    done
} >"$properties"
# Any id will do: there is one node. A folder that is formatted stays as it is.
/opt/jre/bin/java -cp '/opt/kafka/*' kafka.tools.StorageTool format --ignore-formatted -t 4L6g3nShT-eMCtK--X86sw -c "$properties"
# Little memory and a fast start instead of the highest throughput.
exec /opt/jre/bin/java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp '/opt/kafka/*' kafka.Kafka "$properties"
END
    chmod +x "$folder/start"
    cat >"$folder/Dockerfile" <<END
FROM $prefix/base:$debian_release
COPY jre /opt/jre
COPY libs /opt/kafka
COPY start /start
VOLUME /data
EXPOSE 9092
CMD ["/start"]
END
    docker build --quiet --tag "$prefix/kafka:4.1" "$folder"
}

# --- What speaks MongoDB's protocol ------------------------------------------------------------------------------

mongo() {
    need go debootstrap
    folder=$work/mongo
    root=$folder/root
    mkdir -p "$folder"
    GOBIN=$folder CGO_ENABLED=0 go install -trimpath -ldflags='-s -w' "github.com/FerretDB/FerretDB/v2/cmd/ferretdb@$ferretdb" ||
        fail "Go could not build FerretDB $ferretdb"
    rm -rf "$root"
    # An older debootstrap does not know the release by name; the script of the newest one serves.
    debootstrap --variant=minbase --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$document_release" "$root" \
        "$(mirror)" /usr/share/debootstrap/scripts/sid >"$folder/debootstrap.log" ||
        fail "debootstrap failed; $folder/debootstrap.log says why"
    # No service may start while packages are installed, and no cluster of the package's own is wanted.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    mkdir -p "$root/etc/postgresql-common"
    echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
    # The index of a mirror that lags may be past its date; its signature is still checked.
    printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n' >"$root/etc/apt/apt.conf.d/99dates"
    cp /etc/resolv.conf "$root/etc/resolv.conf"
    cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
    mounted=$root
    mount --bind /dev "$root/dev"
    mount -t proc proc "$root/proc"
    {
        chroot "$root" apt-get update -qq &&
            DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install -y -qq --no-install-recommends postgresql-18-documentdb
    } >"$folder/apt.log" 2>&1 || fail "PostgreSQL could not be installed; $folder/apt.log says why"
    # The database is made here and not at each start, which is then below a second.
    cat >"$root/bake" <<'END'
set -e
bin=/usr/lib/postgresql/18/bin
data=/var/lib/documents
mkdir -p $data /run/postgresql
chown postgres:postgres $data /run/postgresql
runuser -u postgres -- $bin/initdb -D $data -E UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=trust -U postgres
cat >>$data/postgresql.conf <<'SETTINGS'
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
max_connections = 200
SETTINGS
runuser -u postgres -- $bin/pg_ctl -D $data -w -l /tmp/postgres.log start
runuser -u postgres -- psql -qc 'CREATE EXTENSION documentdb CASCADE'
runuser -u postgres -- $bin/pg_ctl -D $data -w -m fast stop
rm -f /tmp/postgres.log
END
    chroot "$root" sh /bake >"$folder/bake.log" 2>&1 || fail "the database could not be made; $folder/bake.log says why"
    rm "$root/bake"
    cat >"$root/entrypoint" <<'END'
#!/bin/bash
# Arguments are ignored: those of the official image mean nothing here.
set -e
data=/var/lib/documents
mkdir -p /run/postgresql /state
chown postgres:postgres /run/postgresql /state
# What a killed server leaves would be taken for a running one.
rm -f $data/postmaster.pid /run/postgresql/.s.PGSQL.5432*
as_postgres="setpriv --reuid=postgres --regid=postgres --init-groups env HOME=/state"
$as_postgres /usr/lib/postgresql/18/bin/postgres -D $data & database=$!
until /usr/lib/postgresql/18/bin/pg_isready -q -h 127.0.0.1; do kill -0 $database; sleep 0.05; done
$as_postgres /ferretdb --no-auth --postgresql-url=postgres://postgres@127.0.0.1:5432/postgres --listen-addr=0.0.0.0:27017 \
    --debug-addr=- --telemetry=disable --state-dir=/state --log-level=WARN & server=$!
trap 'kill -TERM $server; kill -INT $database; wait; exit 0' TERM INT
# Both or none: a database without its server would look alive.
wait -n
exit 1
END
    chmod +x "$root/entrypoint"
    install -m755 "$folder/ferretdb" "$root/ferretdb"
    chroot "$root" apt-get clean
    rm -rf "$root/var/lib/apt/lists/"* "$root/usr/share/doc" "$root/usr/share/man" "$root/usr/share/locale" \
        "$root/usr/lib/postgresql/18/lib/bitcode" "$root/usr/sbin/policy-rc.d"
    unmount
    tar -C "$root" --numeric-owner -c . |
        docker import --change 'ENTRYPOINT ["/entrypoint"]' --change 'EXPOSE 27017' - "$prefix/mongo:7" >/dev/null
    rm -rf "$root"
}

have docker || fail "the command docker is missing (Debian: apt-get install docker.io)"
docker version >/dev/null 2>&1 || fail "no Docker engine answers"
# The older builder needs no plugin.
export DOCKER_BUILDKIT=0
work=$cache/work
mkdir -p "$work"
# Two at once would work in the same folders.
if have flock; then
    exec 9>"$cache/lock"
    flock -w 1800 9 || fail "another build.sh has been at work for half an hour"
fi
provide redis:7 redis
provide kafka:4.1 kafka
provide mongo:7 mongo
say "$prefix/redis:7, $prefix/kafka:4.1 and $prefix/mongo:7 are there"
