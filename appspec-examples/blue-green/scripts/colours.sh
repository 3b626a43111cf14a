# Read by the other scripts: which colour is live, and which is idle.
shop=/srv/example/shop
live=$(readlink "$shop/live" 2>/dev/null || echo none)
case $live in
blue) idle=green ;;
*) idle=blue ;;
esac
