# Ubuntu 22.04, 24.04 and 26.04: 22.04's python3 is 3.10, and python3.11 is in universe; the others' will do.
SYSTEMS='ubuntu'
LINKS=/usr/local/bin
install_python() {
    case $VERSION_ID in
    22.04) with_apt python3.11 ;;
    *) with_apt python3 ;;
    esac
}
